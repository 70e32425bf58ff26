/** The draft: what was typed and attached, kept in this browser until it has been registered. */
import { createStore, delMany, getMany, setMany, type UseStore } from 'idb-keyval'
import type { AnswerBy } from './api'

export interface Draft {
  /** Drawn once a draft: the server knows a second try by it. */
  id: string
  text: string
  topic: string
  address: string
  name: string
  answerBy: AnswerBy
  email: string
  phone: string
  /** The mark of the consent's text that was ticked; empty: not ticked. */
  consent: string
  website: string
  files: File[]
  /** It was sent and nobody has said what became of it. */
  sending: boolean
  savedAt: number
}

const KEEP = 30 * 24 * 60 * 60 * 1000 // ms; then it is of no use to the one who wrote it

/** 32 hexadecimal digits. crypto.randomUUID is missing where a page comes over plain http. */
export function drawId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

export const emptyDraft = (): Draft => ({
  id: drawId(),
  text: '',
  topic: '',
  address: '',
  name: '',
  answerBy: 'page',
  email: '',
  phone: '',
  consent: '',
  website: '',
  files: [],
  sending: false,
  savedAt: 0,
})

/** Whether there is anything in it that would be missed. */
export const isWritten = (draft: Draft): boolean => Boolean(draft.text || draft.files.length || draft.name || draft.address)

/** One draft's place in IndexedDB, which keeps files too. Where a browser forbids it, drafts live as long as the page. */
export class DraftShelf {
  private store: UseStore | null = null

  constructor(private readonly key: string) {
    try {
      this.store = createStore('okno-drafts', 'drafts')
    } catch {
      this.store = null
    }
  }

  async load(now: number): Promise<Draft | null> {
    if (this.store === null) return null
    try {
      const [kept, files] = await getMany<unknown>([this.key, this.filesKey], this.store)
      if (kept === undefined || now - (kept as Draft).savedAt > KEEP) return null
      return { ...emptyDraft(), ...(kept as Partial<Draft>), files: (files as File[] | undefined) ?? [] }
    } catch {
      return null
    }
  }

  /** Keep what was typed; the files too if `withFiles`, because they are large and change seldom. True if it is kept. */
  async save(draft: Draft, now: number, withFiles: boolean): Promise<boolean> {
    if (this.store === null) return false
    const typed: [string, unknown] = [this.key, { ...draft, files: [], savedAt: now }]
    try {
      await setMany(withFiles ? [typed, [this.filesKey, [...draft.files]]] : [typed], this.store)
      return true
    } catch {
      return false // storage is full or forbidden
    }
  }

  async discard(): Promise<void> {
    if (this.store === null) return
    try {
      await delMany([this.key, this.filesKey], this.store)
    } catch {
      // nothing was kept
    }
  }

  private get filesKey(): string {
    return `${this.key}/files`
  }
}
