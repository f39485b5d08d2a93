import { expect, test } from 'vitest'
import { scrub } from '../../../../core/domain/scrub.ts'

const me = {
  secrets: ['kept-by-us-1234', 'proxyuser:pr0xy pass'],
  home: '/home/lin.wei',
  user: 'lin.wei',
  hostname: 'lins-tower',
}

test.each([
  ['a kept secret, as it is and as part of an address', 'x kept-by-us-1234 y', 'x [hidden] y'],
  ['the password of a kept pair, percent-encoded', 'pr0xy%20pass', '[hidden]'],
  ['user and password in an address', 'http://me:pw@proxy.example:3128', 'http://proxy.example:3128'],
  ['a user alone in an address', 'git clone https://tok3n@code.example/a.git', 'git clone https://code.example/a.git'],
  [
    'a signed link',
    'GET https://cdn.example/a.bin?Expires=1&Signature=abc#x 200',
    'GET https://cdn.example/a.bin?[hidden] 200',
  ],
  ['a header', 'Authorization: Bearer abcdef0123456789', 'Authorization: [hidden]'],
  ['a header in JSON', '{"proxy-authorization":"Basic dTpw","a":1}', '{"proxy-authorization":"[hidden]","a":1}'],
  ['a cookie', 'Set-Cookie: session=abc; Path=/', 'Set-Cookie: [hidden]'],
  ['a named value', 'HF_TOKEN=abc123 next', 'HF_TOKEN=[hidden] next'],
  ['a named value in JSON', '{"apiKey":"ab\\"c","b":"c"}', '{"apiKey":[hidden],"b":"c"}'],
  ['an option', 'main.py --api-key abc --port 1', 'main.py --api-key [hidden] --port 1'],
  ['an option in JSON', '"a\\n--token abc","b"', '"a\\n--token [hidden]","b"'],
  ['an option and its value in a list', '["--api-key","abc"]', '["--api-key","[hidden]"]'],
  ['a key of a hub', 'using hf_abcdefghijklmnopqrst', 'using [hidden]'],
  ['a key of ours', 'entered with ns_AbCdEfGhIjKlMnOpQrStUvWxYz012345-_x', 'entered with [hidden]'],
  ['whom somebody is elsewhere', 'ssh -p 22 -l anna gpu exit; ssh bo@gpu', 'ssh -p 22 -l user gpu exit; ssh user@gpu'],
  ['a signed token', 'jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2ln', 'jwt [hidden]'],
  ['an e-mail address', 'by lin@mail.example.com.', 'by [hidden].'],
  ['a private key', 'a\n-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\nb', 'a\n[hidden]\nb'],
  ['the home folder', '/home/lin.wei/ComfyUI/main.py', '~/ComfyUI/main.py'],
  [
    'another home',
    '/Users/anna/x C:\\Users\\anna\\y C:\\\\Users\\\\anna\\\\z',
    '/Users/user/x C:\\Users\\user\\y C:\\\\Users\\\\user\\\\z',
  ],
  ['names of the person and the machine', 'lin.wei@lins-tower: ready', 'user@this-machine: ready'],
  [
    'what is nobody’s secret stays',
    'torch 2.13.0 on cuda:0, token count: many tokens, /opt/ComfyUI',
    'torch 2.13.0 on cuda:0, token count: many tokens, /opt/ComfyUI',
  ],
])('%s', (_, text, clean) => {
  expect(scrub(text, me)).toBe(clean)
})
