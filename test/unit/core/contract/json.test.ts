import { expect, test } from 'vitest'
import { isWholeFloat, parseJson, parseJsonWithFloats, writeJson } from '../../../../core/contract/json.ts'

test('floats that are whole stay floats from text to text; all else is as without', () => {
  const text = '{"a":1.0,"b":1,"c":[0.0,2,0.5,-3.0,1e21],"d":18446744073709551615,"e":1e2}'
  const value = parseJsonWithFloats(text) as { c: number[] }
  expect(value).toEqual(parseJson(text))
  expect([isWholeFloat(value, 'a'), isWholeFloat(value, 'b'), isWholeFloat(value.c, '3')]).toEqual([true, false, true])
  expect(writeJson(value)).toBe('{"a":1.0,"b":1,"c":[0.0,2,0.5,-3.0,1e+21],"d":18446744073709551615,"e":100.0}')
  expect(writeJson(parseJson('{"a":1.0}'))).toBe('{"a":1}')
})
