// A program that forwards and refuses as ssh does; the host it is asked for says how.
import { appendFileSync, existsSync } from 'node:fs'
import { connect, createServer } from 'node:net'

const argv = process.argv.slice(2)
const given = (flag) => argv[argv.indexOf(flag) + 1]
const host = argv.at(-1)
const [, localPort, , remotePort] = given('-L').split(':')
const say = (line) => process.stderr.write(`${line}\n`)
const die = (...lines) => {
  for (const line of lines) say(line)
  process.exit(255)
}
if (process.env.FAKE_SSH_STARTS)
  appendFileSync(process.env.FAKE_SSH_STARTS, `${JSON.stringify([process.pid, ...argv])}\n`)
if (host === 'stranger')
  die(
    'No ED25519 host key is known for stranger and you have requested strict checking.',
    'Host key verification failed.',
  )
if (host === 'changed')
  die('@@@@@@@@', '@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @', 'Host key verification failed.')
if (host === 'keyless') die('me@keyless: Permission denied (publickey).')
if (host === 'nowhere') die('ssh: Could not resolve hostname nowhere: Name or service not known')
if (host === 'closed') die('ssh: connect to host closed port 22: Connection refused')
// one that is away while a file is there
const away = process.env.FAKE_SSH_AWAY
if (away && existsSync(away)) die('ssh: connect to host gpu port 22: Connection refused')
process.on('SIGINT', () => process.exit(255))

let channel = 1
const server = createServer((socket) => {
  channel++
  socket.on('error', () => socket.destroy())
  if (host === 'forbids') {
    say(`channel ${channel}: open failed: administratively prohibited: open failed`)
    return socket.destroy()
  }
  const far = connect(Number(remotePort), '127.0.0.1')
  far.on('error', (cause) => {
    if (cause.code === 'ECONNREFUSED') say(`channel ${channel}: open failed: connect failed: Connection refused`)
    socket.destroy()
  })
  far.on('close', () => socket.destroy())
  socket.on('close', () => far.destroy())
  socket.pipe(far).pipe(socket)
})
server.on('error', () =>
  die(
    `bind [127.0.0.1]:${localPort}: Address already in use`,
    `channel_setup_fwd_listener_tcpip: cannot listen to port: ${localPort}`,
    'Could not request local forwarding.',
  ),
)
server.listen(Number(localPort), '127.0.0.1')
