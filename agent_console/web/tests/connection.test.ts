import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { CommandError, Connection, ConnectionLostError, type Desk, type QueueMessage } from '../src/console/connection'
import type { Snapshot } from '../src/protocol'

const SNAPSHOT = { agent: {}, offers: [], appeals: [], tail_id: '7-0' } as unknown as Snapshot

/** The server's end of a socket: it sees what was sent and says what the test wants. */
class Socket {
  onopen: (() => void) | null = null
  onmessage: ((event: { data: string }) => void) | null = null
  onclose: ((event: { code: number }) => void) | null = null
  readonly sent: Record<string, unknown>[] = []
  closedByUs = false
  send(text: string): void {
    this.sent.push(JSON.parse(text) as Record<string, unknown>)
  }
  close(): void {
    this.closedByUs = true
  }
  say(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) })
  }
  welcome(snapshot: Snapshot = SNAPSHOT): void {
    this.onopen?.()
    this.say({ type: 'welcome', request_id: 'r', protocol: 1, resume_gap: false, snapshot })
  }
  get last(): Record<string, unknown> {
    return this.sent.at(-1) ?? {}
  }
}

let sockets: Socket[]
let states: string[]
let retryAt: number | null
let taken: QueueMessage[]
let snapshots: number
let ended: number
let session: () => Promise<boolean>
let connection: Connection

beforeEach(() => {
  vi.useFakeTimers()
  sockets = []
  states = []
  taken = []
  snapshots = ended = 0
  session = () => Promise.resolve(true)
  const desk: Desk = {
    state: (state, at) => {
      states.push(state)
      retryAt = at
    },
    snapshot: () => (snapshots += 1),
    queueMessage: (message) => taken.push(message),
    ended: () => (ended += 1),
    sessionLives: () => session(),
  }
  connection = new Connection(
    desk,
    () => {
      sockets.push(new Socket())
      return sockets.at(-1) as unknown as WebSocket
    },
    () => 1,
  )
})
afterEach(() => {
  connection.stop()
  vi.useRealTimers()
})

const server = (): Socket => sockets.at(-1) as Socket

describe('the first connection', () => {
  test('says hello without an id, and is online once it is welcomed', () => {
    connection.start()
    server().welcome()
    expect(server().sent[0]).toMatchObject({ type: 'hello', after_id: null })
    expect(states).toEqual(['connecting', 'online'])
    expect(snapshots).toBe(1)
  })

  test('gives up a server that never answers hello', () => {
    connection.start()
    server().onopen?.()
    vi.advanceTimersByTime(10_000)
    expect(server().closedByUs).toBe(true)
    expect(states.at(-1)).toBe('waiting')
  })
})

describe('commands', () => {
  test('get the answer that carries their request id', async () => {
    connection.start()
    server().welcome()
    const first = connection.request({ type: 'open', appeal_id: 'a' })
    const second = connection.request({ type: 'accept', offer_id: 'o' })
    const [, open, accept] = server().sent
    server().say({ type: 'ack', request_id: accept?.request_id, agent: null, appeal: null, reply: null })
    server().say({ type: 'opened', request_id: open?.request_id, detail: {} })
    expect((await first).type).toBe('opened')
    expect((await second).type).toBe('ack')
  })

  test('are refused with the words of the server', async () => {
    connection.start()
    server().welcome()
    const asked = connection.request({ type: 'accept', offer_id: 'o' })
    const text = { ru: 'Снято', en: 'Gone' }
    server().say({ type: 'error', request_id: server().last.request_id, code: 'gone', message: text, detail: '', incident: null })
    const error = await asked.catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(CommandError)
    expect((error as CommandError).text).toEqual(text)
  })

  test('in hand when the connection goes are told that their fate is unknown', async () => {
    connection.start()
    server().welcome()
    const asked = connection.request({ type: 'accept', offer_id: 'o' })
    server().onclose?.({ code: 1006 })
    await expect(asked).rejects.toBeInstanceOf(ConnectionLostError)
  })

  test('are not sent while there is no connection', async () => {
    connection.start()
    await expect(connection.request({ type: 'accept', offer_id: 'o' })).rejects.toBeInstanceOf(ConnectionLostError)
    expect(server().sent).toEqual([])
  })
})

describe('a lost connection', () => {
  test('comes back after the last queue id that was handled', async () => {
    connection.start()
    server().welcome()
    server().say({ type: 'appeal_changed', id: '9-1', appeal_id: 'a', version: 2, state: 'assigned' })
    server().onclose?.({ code: 1006 })
    await vi.advanceTimersByTimeAsync(1_000)
    server().welcome()
    expect(taken).toHaveLength(1)
    expect(sockets).toHaveLength(2)
    expect(server().sent[0]).toMatchObject({ type: 'hello', after_id: '9-1' })
  })

  test('waits twice as long after each failure, thirty seconds at most, and starts over once it is back', async () => {
    connection.start()
    const waits: number[] = []
    for (let failure = 0; failure < 7; failure += 1) {
      server().onclose?.({ code: 1006 })
      waits.push((retryAt ?? 0) - Date.now())
      await vi.advanceTimersByTimeAsync(waits.at(-1) ?? 0)
    }
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000])
    server().welcome()
    server().onclose?.({ code: 1006 })
    expect((retryAt ?? 0) - Date.now()).toBe(1_000)
  })

  test('spreads over one to five seconds after a restart of the server', () => {
    connection.start()
    server().welcome()
    server().onclose?.({ code: 1012 })
    expect((retryAt ?? 0) - Date.now()).toBe(5_000)
  })

  test('is noticed by a ping that nobody answers', () => {
    connection.start()
    server().welcome()
    vi.advanceTimersByTime(20_000)
    expect(server().last.type).toBe('ping')
    vi.advanceTimersByTime(10_000)
    expect(states.at(-1)).toBe('waiting')
  })

  test('is not suspected while anything arrives', () => {
    connection.start()
    server().welcome()
    for (let minute = 0; minute < 6; minute += 1) {
      vi.advanceTimersByTime(15_000)
      server().say({ type: 'status', id: `${minute}-0`, status: 'away', reason: '' })
    }
    expect(server().last.type).toBe('hello')
  })

  test('tries on when the session cannot be asked for, and at once when somebody says so', async () => {
    session = () => Promise.reject(new Error('unreachable'))
    connection.start()
    server().onclose?.({ code: 1006 })
    await vi.advanceTimersByTimeAsync(1_000)
    expect(states.at(-1)).toBe('waiting')
    session = () => Promise.resolve(true)
    connection.retryNow()
    await vi.advanceTimersByTimeAsync(0)
    expect(sockets).toHaveLength(2)
  })
})

describe('the end of the session', () => {
  test('by the closing code 4401 ends the desk and is final', async () => {
    connection.start()
    server().welcome()
    server().onclose?.({ code: 4401 })
    await vi.advanceTimersByTimeAsync(120_000)
    expect(ended).toBe(1)
    expect(sockets).toHaveLength(1)
  })

  test('is found out over HTTP, where a browser cannot see the 401 of an upgrade', async () => {
    session = () => Promise.resolve(false)
    connection.start()
    server().onclose?.({ code: 1006 })
    await vi.advanceTimersByTimeAsync(1_000)
    expect(ended).toBe(1)
  })

  test('by logging out during the question leaves no connection behind', async () => {
    let answer: (lives: boolean) => void = () => undefined
    session = () => new Promise((resolve) => (answer = resolve))
    connection.start()
    server().onclose?.({ code: 1006 })
    await vi.advanceTimersByTimeAsync(1_000)
    connection.stop()
    answer(true)
    await vi.advanceTimersByTimeAsync(60_000)
    expect(sockets).toHaveLength(1)
  })
})
