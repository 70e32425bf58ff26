/** What is being written, one draft an appeal. Kept in sessionStorage: a reload loses nothing, closing the tab forgets it. */
import { defineStore } from 'pinia'
import { reactive, watch } from 'vue'
import type { UploadView } from '../protocol'

export interface Draft {
  text: string
  uploads: UploadView[]
  /** Sent with this text, and the connection went before the answer: the conversation will tell. */
  unconfirmed: Unconfirmed | null
}

export interface Unconfirmed {
  text: string
  alike: number // replies with that text that were there before
}

const KEY = 'okno.drafts'
const OWNER_KEY = 'okno.drafts.owner'

const emptyDraft = (): Draft => ({ text: '', uploads: [], unconfirmed: null })

export const useDrafts = defineStore('drafts', () => {
  const drafts = reactive<Record<string, Draft>>(stored())
  watch(drafts, (changed) => keep(KEY, JSON.stringify(changed)))

  function draftOf(appealId: string): Draft {
    return (drafts[appealId] ??= emptyDraft())
  }

  function clear(appealId: string): void {
    delete drafts[appealId]
  }

  function hasDraft(appealId: string): boolean {
    const draft = drafts[appealId]
    return draft !== undefined && (draft.text.trim() !== '' || draft.uploads.length > 0)
  }

  /** Forget all of them. */
  function clearAll(): void {
    for (const appealId of Object.keys(drafts)) delete drafts[appealId]
  }

  /** The drafts are this agent's from now on; those of whoever sat here before are forgotten. */
  function own(agentId: string): void {
    if (read(OWNER_KEY) !== agentId) clearAll()
    keep(OWNER_KEY, agentId)
  }

  return { draftOf, clear, hasDraft, clearAll, own }
})

function stored(): Record<string, Draft> {
  try {
    return JSON.parse(read(KEY) ?? '{}') as Record<string, Draft>
  } catch {
    return {} // not ours, or written by another version
  }
}

function read(key: string): string | null {
  try {
    return sessionStorage.getItem(key)
  } catch {
    return null // forbidden: the drafts live as long as the page
  }
}

function keep(key: string, value: string): void {
  try {
    sessionStorage.setItem(key, value)
  } catch {
    // full or forbidden: as above
  }
}
