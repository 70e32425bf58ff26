import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { useDesk } from '../src/console/desk'
import { useDrafts } from '../src/console/drafts'
import type { AppealDetail, AppealSummary, OfferView, ReplyView, Snapshot } from '../src/protocol'

const NOW = Date.parse('2026-11-22T10:00:00Z')
const DUE = '2026-11-22T10:01:00Z'

type Message = Record<string, unknown>

class Socket {
  onopen: (() => void) | null = null
  onmessage: ((event: { data: string }) => void) | null = null
  onclose: ((event: { code: number }) => void) | null = null
  readonly sent: Message[] = []
  constructor() {
    sockets.push(this)
  }
  send(text: string): void {
    this.sent.push(JSON.parse(text) as Message)
  }
  close(): void {}
  say(message: Message): void {
    this.onmessage?.({ data: JSON.stringify(message) })
  }
  commands(type: string): Message[] {
    return this.sent.filter((message) => message.type === type)
  }
}

let sockets: Socket[] = []
let desk: ReturnType<typeof useDesk>
const server = (): Socket => sockets.at(-1) as Socket

const offer = (id: string, due = DUE) => ({ offer_id: id, appeal_id: 'a', number: '1', subject: '', due_at: due }) as OfferView
const appeal = (version = 3, state: AppealSummary['state'] = 'assigned') =>
  ({ id: 'a', number: '1', version, state, agent_id: 'anna', deadline_at: DUE }) as AppealSummary
const answer = (text: string) => ({ id: text, kind: 'answer', agent_id: 'anna', text, state: 'sent' }) as ReplyView

function welcome(snapshot: Partial<Snapshot> = {}): void {
  server().onopen?.()
  const whole = { agent: { id: 'anna', status: 'available' }, offers: [], appeals: [], tail_id: '1-0', ...snapshot }
  server().say({ type: 'welcome', request_id: '1', protocol: 1, resume_gap: false, snapshot: whole })
}

/** Answer the newest `open` with this appeal and these replies. */
async function open(summary: AppealSummary, replies: ReplyView[] = []): Promise<void> {
  const detail = { appeal: summary, citizen: null, envelopes: [], transcripts: [], replies, events: [], answer_to: null } as AppealDetail
  server().say({ type: 'opened', request_id: server().commands('open').at(-1)?.request_id, detail })
  await vi.advanceTimersByTimeAsync(0)
}

beforeEach(() => {
  vi.useFakeTimers({ now: NOW })
  sockets = []
  const kept = new Map<string, string>()
  vi.stubGlobal('WebSocket', Socket)
  vi.stubGlobal('location', { protocol: 'http:', host: 'okno.example' })
  vi.stubGlobal('sessionStorage', { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => kept.set(key, value) })
  vi.stubGlobal('fetch', () => Promise.resolve(Response.json({ agent: { id: 'anna' }, office: {} })))
  setActivePinia(createPinia())
  desk = useDesk()
  desk.start()
})
afterEach(() => {
  desk.stop()
  vi.unstubAllGlobals()
  vi.useRealTimers()
})

test('offers that are past, known, or gone are not shown', () => {
  welcome({ offers: [offer('past', '2026-11-22T09:59:00Z'), offer('one')] })
  server().say({ type: 'offer', id: '2-0', ...offer('one') })
  server().say({ type: 'offer', id: '2-1', ...offer('two') })
  server().say({ type: 'offer', id: '2-2', ...offer('late', '2026-11-22T09:59:59Z') })
  expect(desk.offers.map((one) => one.offer_id)).toEqual(['one', 'two'])
  server().say({ type: 'offer_gone', id: '2-3', offer_id: 'one', appeal_id: 'a', reason: 'timed_out' })
  server().say({ type: 'offer_gone', id: '2-4', offer_id: 'never', appeal_id: 'a', reason: 'timed_out' })
  expect(desk.offers.map((one) => one.offer_id)).toEqual(['two'])
})

test('a changed appeal is read again only if it is newer than what is shown', async () => {
  welcome({ appeals: [appeal(3)] })
  server().say({ type: 'appeal_changed', id: '2-0', appeal_id: 'a', version: 3, state: 'assigned' })
  expect(server().commands('open')).toHaveLength(0)
  server().say({ type: 'appeal_changed', id: '2-1', appeal_id: 'a', version: 4, state: 'closed' })
  await open(appeal(4, 'closed'))
  expect(desk.appeals).toEqual([])
})

test('an offer that another tab took leaves the desk, and nothing is selected', async () => {
  welcome({ offers: [offer('one')] })
  const accepted = desk.accept(offer('one')).catch((error: unknown) => error)
  const request_id = server().commands('accept')[0]?.request_id
  server().say({ type: 'error', request_id, code: 'gone', message: { ru: '', en: '' }, detail: '', incident: null })
  expect(await accepted).toMatchObject({ code: 'gone' })
  expect(desk.offers).toEqual([])
  expect(desk.selectedId).toBeNull()
})

async function sendAndLoseTheConnection(): Promise<void> {
  welcome({ appeals: [appeal()] })
  desk.select('a')
  await open(appeal())
  useDrafts().draftOf('a').text = ' Мастер выехал. '
  const sent = desk.reply(appeal(), false).catch(() => 'lost')
  expect(server().commands('reply')[0]).toMatchObject({ text: 'Мастер выехал.', version: 3 })
  server().onclose?.({ code: 1006 })
  expect(await sent).toBe('lost')
  await vi.advanceTimersByTimeAsync(1_000)
}

test('an answer that got through as the connection went clears its draft', async () => {
  await sendAndLoseTheConnection()
  welcome({ appeals: [] })
  await open(appeal(4, 'answered'), [answer('Мастер выехал.')])
  expect(useDrafts().hasDraft('a')).toBe(false)
  expect(desk.notice?.key).toBe('notice.was_sent')
})

test('an answer that did not get through stays a draft, and the agent is told', async () => {
  await sendAndLoseTheConnection()
  welcome({ appeals: [appeal()] })
  await open(appeal())
  expect(useDrafts().draftOf('a').text).toBe(' Мастер выехал. ')
  expect(desk.notice?.key).toBe('notice.not_sent')
})

test('an answer to an appeal that changed meanwhile is kept, and the change is shown', async () => {
  welcome({ appeals: [appeal()] })
  desk.select('a')
  await open(appeal())
  useDrafts().draftOf('a').text = 'Мастер выехал.'
  const sent = desk.reply(appeal(), true).catch((error: unknown) => error)
  const request_id = server().commands('reply')[0]?.request_id
  server().say({ type: 'error', request_id, code: 'stale', message: { ru: '', en: '' }, detail: '', incident: null })
  expect(await sent).toMatchObject({ code: 'stale' })
  await open(appeal(4))
  expect(desk.detail?.appeal.version).toBe(4)
  expect(useDrafts().draftOf('a').text).toBe('Мастер выехал.')
})

test('closing goes on to the next appeal by deadline', async () => {
  const second = { ...appeal(), id: 'b', deadline_at: '2026-11-23T10:00:00Z' }
  welcome({ appeals: [second, appeal()] })
  desk.move(1)
  await open(appeal())
  expect(desk.selectedId).toBe('a')
  const closed = desk.closeAppeal(appeal(), 'решено')
  server().say({ type: 'ack', request_id: server().commands('close')[0]?.request_id, agent: null, appeal: appeal(4, 'closed'), reply: null })
  await closed
  expect(desk.appeals.map((one) => one.id)).toEqual(['b'])
  expect(desk.selectedId).toBe('b')
})

test('drafts outlive the page, and whoever logs in next does not see them', async () => {
  useDrafts().own('anna')
  useDrafts().draftOf('a').text = 'Начало'
  await vi.advanceTimersByTimeAsync(0)
  setActivePinia(createPinia())
  useDrafts().own('anna')
  expect(useDrafts().draftOf('a').text).toBe('Начало')
  useDrafts().own('boris')
  await vi.advanceTimersByTimeAsync(0)
  setActivePinia(createPinia())
  expect(useDrafts().hasDraft('a')).toBe(false)
})

test('a transcribed appeal that is passed on leaves the desk', async () => {
  welcome({ appeals: [appeal()] })
  desk.select('a')
  await open(appeal())
  const typing = desk.transcribe(appeal(), 'e', 'Нет света', true)
  const sent = server().commands('transcribe')[0]
  expect(sent).toMatchObject({ appeal_id: 'a', version: 3, envelope_id: 'e', text: 'Нет света', pass_on: true })
  server().say({ type: 'ack', request_id: sent?.request_id, appeal: { ...appeal(4, 'registered'), agent_id: null }, agent: null, other: null, reply: null })
  await typing
  expect(desk.appeals).toEqual([])
  expect(desk.selectedId).toBeNull()
  expect(desk.notice).toMatchObject({ kind: 'success', key: 'notice.passed_on' })
})

test('a message split off is told by the number of the new appeal', async () => {
  welcome({ appeals: [appeal()] })
  desk.select('a')
  await open(appeal())
  const splitting = desk.split(appeal(), 'e')
  const sent = server().commands('split')[0]
  expect(sent).toMatchObject({ appeal_id: 'a', version: 3, envelope_id: 'e' })
  server().say({ type: 'ack', request_id: sent?.request_id, appeal: appeal(4), other: { ...appeal(1, 'registered'), id: 'b', number: '2' }, agent: null, reply: null })
  await splitting
  expect(desk.notice).toMatchObject({ key: 'notice.split', number: '2' })
  expect(desk.appeals.map((one) => one.version)).toEqual([4])
})
