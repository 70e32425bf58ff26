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

const emptyDraft = (): Draft => ({ text: '', uploads: [], unconfirmed: null })

export const useDrafts = defineStore('drafts', () => {
  const drafts = reactive<Record<string, Draft>>(stored())
  watch(drafts, (changed) => keep(changed))

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

  /** Forget all of them: another person may sit here next. */
  function clearAll(): void {
    for (const appealId of Object.keys(drafts)) delete drafts[appealId]
  }

  return { draftOf, clear, hasDraft, clearAll }
})

function stored(): Record<string, Draft> {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? '{}') as Record<string, Draft>
  } catch {
    return {}
  }
}

function keep(drafts: Record<string, Draft>): void {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(drafts))
  } catch {
    // full or forbidden: the draft lives as long as the page
  }
}
