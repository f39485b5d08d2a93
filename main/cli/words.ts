import type { Facts, Failure } from '../../core/contract/errors.ts'
import { sayName } from '../../core/contract/names.ts'
import type { Panel } from '../../core/contract/panel.ts'
import type { Parameter } from '../../core/contract/workflow.ts'
import { titlesIn } from '../../core/domain/workflow/panel.ts'
import { resolveParameter } from '../../core/domain/workflow/parameters.ts'
import { plain } from '../../core/domain/workflow/role-words.ts'
import en from '../../resources/locales/en/cli.json' with { type: 'json' }
import zh from '../../resources/locales/zh-CN/cli.json' with { type: 'json' }
import zhNames from '../../resources/locales/zh-CN/names.json' with { type: 'json' }
import { explain, explainReason, type Language, languageOf, sayProblem } from '../language.ts'

type Words = typeof en
type Said = { code: string; message: string; facts?: Facts }

/** Everything the command line says, in one language. */
export interface Speech {
  readonly language: Language
  readonly words: Words
  failure(failure: Failure): { message: string; remedy: string }
  /** A problem, a warning or the reason of a stall. */
  problem(said: Said): string
  /** Why a connection or source failed. */
  reason(reason: string): string
  /** What a parameter is called. */
  parameter(parameter: Parameter): string
}

const inChinese = ({ name, role }: Parameter) => (role === null ? name : sayName(name, zhNames))

/** The parameter that these words mean, in whichever language, or on a form. @throws AppError 'parameter.unknown', 'parameter.ambiguous' */
export function parameterMeant(parameters: readonly Parameter[], panels: readonly Panel[], name: string): Parameter {
  const titles = titlesIn(panels)
  const most = Math.max(0, ...[...titles.values()].map(({ length }) => length))
  const onForms = Array.from(
    { length: most },
    (_, at) =>
      ({ key }: Parameter) =>
        titles.get(key)?.[at] ?? '',
  )
  return resolveParameter(parameters, name, [inChinese, ...onForms])
}

/** The parameter called exactly so in Chinese, as the pages call it. */
export const calledInChinese = (parameters: readonly Parameter[], name: string): Parameter | undefined =>
  parameters.find((parameter) => plain(inChinese(parameter)) === plain(name))

/** `given`: from --lang; else what the environment says. */
export function speechIn(given: string | undefined, env: NodeJS.ProcessEnv): Speech {
  const system = given || env.LC_ALL || env.LC_MESSAGES || env.LANG || Intl.DateTimeFormat().resolvedOptions().locale
  const language = languageOf('system', [system.replace('_', '-')])
  return {
    language,
    words: language === 'zh-CN' ? zh : en,
    failure: (failure) => explain(failure, language),
    problem: (said) => sayProblem(said, language),
    reason: (reason) => explainReason(reason, language),
    parameter: (parameter) => (language === 'zh-CN' ? inChinese(parameter) : parameter.name),
  }
}
