/** A sampler and scheduler as ComfyUI names them. `near`: the other program's own is not in ComfyUI; this comes nearest. */
export interface Sampling {
  sampler: string
  scheduler: string
  near: boolean
}

/**
 * What other programs call a sampler (lower case, `k_` and underscores gone, `ancestral` as `a`) → ComfyUI's name, with
 * the schedule those programs take by themselves where it is not the plain one.
 */
const samplers: Readonly<Record<string, readonly [sampler: string, automatic?: string]>> = {
  euler: ['euler'],
  'euler a': ['euler_ancestral'],
  'euler cfg++': ['euler_cfg_pp'],
  'euler a cfg++': ['euler_ancestral_cfg_pp'],
  'euler sgm': ['euler', 'sgm_uniform'],
  'euler flowmatch': ['euler', 'simple'],
  heun: ['heun'],
  heunpp2: ['heunpp2'],
  'heun++2': ['heunpp2'],
  dpm2: ['dpm_2', 'karras'],
  'dpm2 a': ['dpm_2_ancestral', 'karras'],
  lms: ['lms'],
  lmsd: ['lms'],
  'dpm fast': ['dpm_fast'],
  'dpm adaptive': ['dpm_adaptive'],
  'dpm++ 2s a': ['dpmpp_2s_ancestral', 'karras'],
  'dpm++ 2s a cfg++': ['dpmpp_2s_ancestral_cfg_pp', 'karras'],
  'dpm++ 2m': ['dpmpp_2m', 'karras'],
  'dpm++ 2m cfg++': ['dpmpp_2m_cfg_pp', 'karras'],
  'dpm++ sde': ['dpmpp_sde', 'karras'],
  'dpm sde': ['dpmpp_sde', 'karras'],
  'dpm++ 2m sde': ['dpmpp_2m_sde', 'exponential'],
  'dpm++ 2m sde heun': ['dpmpp_2m_sde_heun', 'exponential'],
  'dpm++ 3m sde': ['dpmpp_3m_sde', 'exponential'],
  ddpm: ['ddpm'],
  ddim: ['ddim', 'ddim_uniform'],
  lcm: ['lcm'],
  ipndm: ['ipndm'],
  'ipndm v': ['ipndm_v'],
  deis: ['deis'],
  unipc: ['uni_pc'],
  'uni pc': ['uni_pc'],
  'unipc bh2': ['uni_pc_bh2'],
  'uni pc bh2': ['uni_pc_bh2'],
  'res multistep': ['res_multistep'],
  'res multistep a': ['res_multistep_ancestral'],
  'res multistep cfg++': ['res_multistep_cfg_pp'],
  'res multistep a cfg++': ['res_multistep_ancestral_cfg_pp'],
  'gradient estimation': ['gradient_estimation'],
  'er sde': ['er_sde'],
  'seeds 2': ['seeds_2'],
  'seeds 3': ['seeds_3'],
  'sa solver': ['sa_solver'],
  'sa solver pece': ['sa_solver_pece'],
}
/** Samplers ComfyUI has no equal of. */
const nearest: Readonly<Record<string, readonly [sampler: string, automatic?: string]>> = {
  plms: ['ipndm'],
  pndm: ['ipndm'],
  restart: ['heun', 'karras'],
  tcd: ['lcm', 'sgm_uniform'],
  'ddim cfg++': ['euler_cfg_pp', 'ddim_uniform'],
  'dpm++': ['dpmpp_2m'],
  'dpm++ 1s': ['ddim'],
  'dpm++ 3m': ['dpmpp_3m_sde'],
  'dpm++ 2s': ['dpmpp_2s_ancestral'],
  'dpm++ 2m edm': ['dpmpp_2m', 'karras'],
  'euler edm': ['euler', 'karras'],
}

const schedulers: Readonly<Record<string, string>> = {
  uniform: 'normal',
  normal: 'normal',
  karras: 'karras',
  exponential: 'exponential',
  'sgm uniform': 'sgm_uniform',
  sgmuniform: 'sgm_uniform',
  simple: 'simple',
  ddim: 'ddim_uniform',
  'ddim uniform': 'ddim_uniform',
  beta: 'beta',
  'kl optimal': 'kl_optimal',
  'linear quadratic': 'linear_quadratic',
  native: 'normal',
}
/** Schedules ComfyUI's sampler cannot take. */
const nearestSchedules: Readonly<Record<string, string>> = {
  polyexponential: 'exponential',
  turbo: 'sgm_uniform',
  lcm: 'sgm_uniform',
  tcd: 'sgm_uniform',
  'align your steps': 'karras',
  'align your steps gits': 'karras',
  'align your steps 11': 'karras',
  'align your steps 32': 'karras',
  'edm playground v2.5': 'karras',
}

/** How ComfyUI spells what it has, for programs that use its names. */
const own = new Set(
  `euler euler_cfg_pp euler_ancestral euler_ancestral_cfg_pp heun heunpp2 exp_heun_2_x0 exp_heun_2_x0_sde dpm_2
  dpm_2_ancestral lms dpm_fast dpm_adaptive dpmpp_2s_ancestral dpmpp_2s_ancestral_cfg_pp dpmpp_sde dpmpp_sde_gpu dpmpp_2m
  dpmpp_2m_cfg_pp dpmpp_2m_sde dpmpp_2m_sde_gpu dpmpp_2m_sde_heun dpmpp_2m_sde_heun_gpu dpmpp_3m_sde dpmpp_3m_sde_gpu ddpm
  lcm ipndm ipndm_v deis res_multistep res_multistep_cfg_pp res_multistep_ancestral res_multistep_ancestral_cfg_pp
  gradient_estimation gradient_estimation_cfg_pp er_sde seeds_2 seeds_3 sa_solver sa_solver_pece ddim uni_pc uni_pc_bh2`.split(
    /\s+/,
  ),
)
const suffixes = [
  ...['karras', 'polyexponential', 'exponential', 'sgm uniform', 'sgmuniform', 'ddim uniform', 'uniform', 'turbo'],
  ...['simple', 'normal', 'beta', 'kl optimal', 'linear quadratic', 'k'],
]

const plain = (name: string) =>
  name
    .trim()
    .toLowerCase()
    .replace(/^k[_ ](?!diffusion)/, '')
    .replace(/dpmpp/g, 'dpm++')
    .replace(/^k?dpm[_ ]2(?=$|[_ ])/, 'dpm2')
    .replace(/^kdpm2/, 'dpm2')
    .replaceAll('_', ' ')
    .replaceAll('-', ' ')
    .replace(/\bancestral\b/g, 'a')
    .replace(/\bcfg pp\b/g, 'cfg++')
    .replace(/\s+/g, ' ')

/**
 * @param name as another program writes it: `DPM++ 2M Karras`, `dpmpp_2m_k`, `k_euler_ancestral`
 * @param schedule its separate name, of programs that write one; null: it is part of `name`, or plain
 */
export function samplingOf(name: string, schedule: string | null): Sampling {
  const given = schedule === null ? null : scheduleOf(schedule)
  const exact = name.trim().toLowerCase()
  let key = plain(name)
  let combined: string | null = null
  for (const suffix of suffixes) {
    if (samplers[key] || !key.endsWith(` ${suffix}`)) continue
    combined = suffix === 'k' ? 'karras' : suffix
    key = key.slice(0, -suffix.length - 1)
    break
  }
  const ownName = own.has(exact) ? exact : null
  const known = samplers[key]
  const [sampler, automatic] = known ?? nearest[key] ?? [ownName ?? 'euler']
  const near = known === undefined && ownName === null
  const schedules = given ?? (combined === null ? null : scheduleOf(combined))
  const isAutomatic = schedule !== null && /^\s*automatic\s*$/i.test(schedule)
  // Without any word of a schedule the plain one was taken; `DDIM` has a schedule of its own.
  const scheduler = schedules?.name ?? (isAutomatic || /^(ddim|sgm)|sgm$|flowmatch$/.test(key) ? automatic : undefined)
  return {
    sampler: ownName ?? sampler,
    scheduler: scheduler ?? 'normal',
    near: near || (schedules !== null && !schedules.exact),
  }
}

function scheduleOf(name: string): { name: string; exact: boolean } | null {
  const key = name.trim().toLowerCase().replaceAll('_', ' ')
  if (key === '' || key === 'automatic' || key === 'default' || key === 'undefined') return null
  const exact = schedulers[key]
  return { name: exact ?? nearestSchedules[key] ?? 'normal', exact: exact !== undefined }
}
