import type { Parameter, ParameterRole } from '../../contract/workflow.ts'

/** What people call a role at the top of a column, in English and Chinese. */
const words: Partial<Record<NonNullable<ParameterRole>, readonly string[]>> = {
  prompt: [
    'prompt',
    'positive',
    'positive prompt',
    'text',
    'caption',
    '提示词',
    '正面提示词',
    '正向提示词',
    '正面',
    '正向',
    '描述',
    '文本',
    '咒语',
    '关键词',
  ],
  negative: [
    'negative',
    'negative prompt',
    'neg',
    'uc',
    'undesired',
    '负面提示词',
    '负面',
    '负向提示词',
    '负向',
    '反向提示词',
    '反向',
    '反面',
  ],
  seed: ['seed', 'noise seed', '种子', '随机种子', '随机数', '种子值'],
  steps: ['steps', 'step', 'sampling steps', '步数', '采样步数', '迭代步数'],
  cfg: ['cfg', 'cfg scale', 'guidance scale', '提示词相关性', '引导系数', '提示词引导', 'cfg值'],
  sampler: ['sampler', 'sampler name', 'sampling method', '采样器', '采样方法'],
  scheduler: ['scheduler', 'schedule', '调度器', '调度'],
  denoise: ['denoise', 'denoising', 'denoising strength', '降噪', '重绘幅度', '去噪'],
  width: ['width', 'w', '宽', '宽度'],
  height: ['height', 'h', '高', '高度'],
  'batch-size': ['batch size', 'batch', 'count', '批次', '批量', '批次大小', '张数', '数量'],
  length: ['length', 'frames', 'frame count', '帧数', '长度', '总帧数'],
  fps: ['fps', 'frame rate', '帧率'],
  guidance: ['guidance', '引导', '引导值'],
  strength: ['strength', 'weight', '强度', '权重'],
  checkpoint: ['checkpoint', 'ckpt', 'model', '大模型', '底模', '模型', '主模型'],
  lora: ['lora', 'lora name', 'lora模型'],
  vae: ['vae'],
  model: ['model', 'unet', 'diffusion model', '模型', '扩散模型'],
  image: [
    'image',
    'picture',
    'photo',
    'file',
    'img',
    'input image',
    'reference',
    '图片',
    '图像',
    '照片',
    '原图',
    '参考图',
    '输入图',
    '底图',
    '垫图',
  ],
  mask: ['mask', '蒙版', '遮罩'],
  video: ['video', '视频'],
  audio: ['audio', 'sound', '音频', '声音'],
  'filename-prefix': ['filename prefix', 'filename', 'prefix', '文件名前缀', '前缀'],
}

/** Letters and digits only, lower case, full width made plain. */
const plain = (text: string) =>
  text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, '')

const plainWords = new Map(Object.entries(words).map(([role, said]) => [role, said.map(plain)]))

/**
 * Which parameter each column most likely means, at most one column for each: by its exact key, its name, words for
 * its role, its input's name, then by what contains what; null where nothing fits.
 */
export function guessColumns(
  columns: readonly string[],
  sample: readonly (readonly string[])[],
  parameters: readonly Parameter[],
): Record<string, string | null> {
  const numeric = columns.map((_, at) => looksNumeric(sample.map((row) => row[at] ?? '')))
  const pairs: { column: string; key: string; score: number }[] = []
  for (const [at, column] of columns.entries()) {
    for (const parameter of parameters) {
      const score = likeness(column, parameter)
      const fits = score >= SURE || !/^(INT|FLOAT)$/.test(parameter.type) || numeric[at] !== false
      if (score > 0 && fits) pairs.push({ column, key: parameter.key, score: score + standing(parameter) })
    }
  }
  const guessed: Record<string, string | null> = Object.fromEntries(columns.map((column) => [column, null]))
  const taken = new Set<string>()
  for (const { column, key } of pairs.sort((one, other) => other.score - one.score)) {
    if (guessed[column] !== null || taken.has(key)) continue
    guessed[column] = key
    taken.add(key)
  }
  return guessed
}

const SURE = 80

function likeness(column: string, { key, name, role, input, nodeTitle }: Parameter): number {
  if (column.trim() === key) return 100
  const said = plain(column)
  if (!said) return 0
  if (said === plain(name)) return 90
  if (said === plain(key) || said === plain(`${nodeTitle} ${input}`)) return 85
  const roleWords = (role && plainWords.get(role)) ?? []
  const rank = roleWords.indexOf(said)
  if (rank >= 0) return 70 - rank * 0.1
  if (said === plain(input)) return 60
  if (said === plain(nodeTitle)) return 50
  const longest = Math.max(0, ...roleWords.filter((word) => telling(word) && said.includes(word)).map(weight))
  if (longest > 0) return 20 + Math.min(longest, 20)
  const named = plain(name)
  if (telling(named) && said.includes(named)) return 15
  if (telling(said) && named.includes(said)) return 10
  return 0
}

/** Long enough to mean something inside another word: three letters, or two Chinese characters. */
const telling = (word: string) => weight(word) >= 3
const weight = (word: string) => word.length + (word.match(/\p{Script=Han}/gu)?.length ?? 0)

/** Among equals, what the person pinned or sees on the form comes first. */
const standing = ({ pinned, shown, role }: Parameter) => (pinned ? 0.04 : 0) + (shown ? 0.02 : 0) + (role ? 0.01 : 0)

/** Whether the filled cells are numbers; undefined where there are none. */
function looksNumeric(cells: readonly string[]): boolean | undefined {
  const filled = cells.filter((cell) => cell.trim() !== '')
  if (filled.length === 0) return undefined
  return filled.filter((cell) => Number.isFinite(Number(cell))).length * 2 >= filled.length
}
