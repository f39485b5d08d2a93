import type { ParameterRole } from '../../contract/workflow.ts'

/** What people call a role at the top of a column or in a title, in English and Chinese. */
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
  lyrics: ['lyrics', '歌词'],
  'aspect-ratio': ['aspect ratio', 'aspect', 'ratio', '宽高比', '比例', '画幅'],
  megapixels: ['megapixels', 'mp', '百万像素', '总像素'],
  duration: ['duration', 'seconds', '时长', '秒数'],
  'filename-prefix': ['filename prefix', 'filename', 'prefix', '文件名前缀', '前缀'],
}

/** Letters and digits only, lower case, full width made plain. */
export const plain = (text: string) =>
  text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, '')

export const plainWords: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries(words).map(([role, said]) => [role, said.map(plain)]),
)

/** The role that these words name; null: none, or several. */
export function roleSaid(text: string): ParameterRole | null {
  const said = plain(text)
  const roles = [...plainWords].flatMap(([role, known]) => (known.includes(said) ? [role as ParameterRole] : []))
  return roles.length === 1 ? roles[0]! : null
}
