// A network of bittorrent-dht nodes on loopback, driven by lines of JSON on stdin.
// First line out: {"addresses": [...]}; then one answer for each line in. Ends when stdin does.
import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto'
import { createInterface } from 'node:readline'
import DHT from 'bittorrent-dht'

const HOST = '127.0.0.1'
const SPKI = Buffer.from('302a300506032b6570032100', 'hex')
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')
const nodes = []

function say (what) {
  process.stdout.write(JSON.stringify(what) + '\n')
}

function holds (signature, message, key) {
  const made = createPublicKey({ key: Buffer.concat([SPKI, key]), format: 'der', type: 'spki' })
  return verify(null, message, made, signature)
}

function signer (seed) {
  const secret = createPrivateKey({ key: Buffer.concat([PKCS8, Buffer.from(seed, 'hex')]), format: 'der', type: 'pkcs8' })
  const key = createPublicKey(secret).export({ format: 'der', type: 'spki' }).subarray(SPKI.length)
  return { key, sign: (message) => sign(null, message, secret) }
}

async function makeNode (entries) {
  const node = new DHT({ bootstrap: entries.length > 0 ? entries : false, verify: holds })
  node.on('error', () => {})
  node.on('warning', () => {})
  await new Promise((resolve) => node.listen(0, HOST, resolve))
  if (!node.ready) await new Promise((resolve) => node.once('ready', resolve))
  return node
}

function where (node) {
  return `${HOST}:${node.address().port}`
}

const commands = {
  put ({ node, value, seed, number, salt }) {
    const item = { v: Buffer.from(value, 'hex') }
    if (seed !== undefined) {
      const { key, sign } = signer(seed)
      Object.assign(item, { k: key, seq: number, sign })
      if (salt) item.salt = Buffer.from(salt)
    }
    return new Promise((resolve) => nodes[node].put(item, (error, hash, copies) => {
      resolve({ error: error?.message, target: hash?.toString('hex'), copies })
    }))
  },
  get ({ node, target, salt }) {
    return new Promise((resolve) => nodes[node].get(Buffer.from(target, 'hex'), { verify: holds, salt: salt ? Buffer.from(salt) : undefined, cache: false }, (error, found) => {
      resolve({ error: error?.message, value: found?.v && Buffer.from(found.v).toString('hex'), number: found?.seq })
    }))
  },
  known ({ node }) {
    return { addresses: nodes[node].toJSON().nodes.map((one) => `${one.host}:${one.port}`) }
  }
}

for (let number = 0; number < Number(process.argv[2]); number++) {
  nodes.push(await makeNode(nodes.slice(0, 3).map(where)))
}
say({ addresses: nodes.map(where) })
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line)
  say(await commands[asked.command](asked))
}
process.exit(0)
