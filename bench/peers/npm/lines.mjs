// The contestant's side of the harness: a JSON request a line on standard input, a JSON answer a line on standard
// output. A contestant has
//
//   open({ folder, side }) -> card   start, and listen where side is 'source'; the card says how it is reached
//   meet(card)                       be told of the other; nothing is connected yet
//   fill(entries) -> mark            source: write all, as quickly as the library does it; the mark is what the
//                                    target must know to ask for them
//   connect(mark)                    target: connect and ask for everything
//   count() -> number                target, connected: how many can be read, and are on disk where it has one
//   put(key, value), get(key)        one write, done when the library says so; one read
//   entries() -> [[key, value]]      all that is held
//   arrived                          an EventEmitter that says 'arrived' whenever something may have come
//
// Times are seconds of the machine's monotonic clock, the same in every process.

import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'

const LOOK_MS = 5
const now = () => Number(process.hrtime.bigint()) / 1e9
const answer = process.stdout.write.bind(process.stdout)

// Answers alone go to standard output; what libraries print, on being imported even, goes to standard error: so this
// module is imported first.
process.stdout.write = process.stderr.write.bind(process.stderr)

/** Return the versions of installed packages, by name. */
export function versionsOf (...names) {
  const read = name => JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url))).version
  return Object.fromEntries(names.map(name => [name, read(name)]))
}

/** Answer requests until standard input ends. */
export async function serve (contestant, versions) {
  const requests = requestsOf(contestant, versions)
  for await (const line of createInterface({ input: process.stdin })) {
    const { request, ...args } = JSON.parse(line)
    let told
    try {
      told = await requests[request](args) ?? {}
    } catch (error) {
      console.error(error)
      told = { error: `${error.name}: ${error.message}` }
    }
    answer(JSON.stringify(told) + '\n')
  }
  process.exit(0)
}

function requestsOf (contestant, versions) {
  return {
    open: async ({ folder, side }) => ({ card: await contestant.open({ folder, side }) ?? {}, versions }),
    meet: async ({ card }) => { await contestant.meet?.(card) },
    fill: async ({ file }) => {
      const entries = (await readFile(file, 'utf8')).trimEnd().split('\n').map(line => JSON.parse(line))
      const began = now()
      const mark = await contestant.fill(entries)
      return { elapsed_s: now() - began, mark: mark ?? {} }
    },
    pull: async ({ mark, entries, limit_s: limit }) => pull(contestant, mark, entries, limit),
    put: async ({ key, value }) => {
      const began = now()
      await contestant.put(key, value)
      return { began_at_s: began, written_at_s: now() }
    },
    expect: async ({ key, value }) => {
      for (;;) {
        const change = once(contestant.arrived, 'arrived')
        if (await contestant.get(key) === value) return { seen_at_s: now() }
        await change
      }
    },
    digest: async () => digestOf(await contestant.entries())
  }
}

async function pull (contestant, mark, entries, limit) {
  const began = now()
  const left = () => limit - (now() - began)
  let [ready, failed] = [false, null]
  const connected = contestant.connect(mark).then(() => { ready = true }, error => { failed = error })
  await Promise.race([connected, sleep(limit * 1000)])
  let count = 0
  while (!failed) {
    if (ready) count = await contestant.count()
    if (count >= entries || left() <= 0) break
    await sleep(LOOK_MS)
  }
  if (failed) throw failed
  return { elapsed_s: now() - began, entries: count }
}

const sleep = ms => new Promise(resolve => { setTimeout(resolve, ms) })

function digestOf (entries) {
  const hash = createHash('sha256')
  for (const [key, value] of entries.sort(([one], [other]) => (one < other ? -1 : 1))) {
    hash.update(`${key}\0${value}\n`)
  }
  return { entries: entries.length, sha256: hash.digest('hex') }
}
