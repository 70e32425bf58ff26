/** One draft while its form is open: restored, kept soon after each change, given up when it has been registered. */
import { onScopeDispose, reactive, ref, toRaw, watch } from 'vue'
import { emptyDraft, isWritten, type Draft, type DraftShelf } from './draft'

const PAUSE = 100 // ms after the last key

export function useDraft(shelf: DraftShelf) {
  const draft = reactive<Draft>(emptyDraft())
  const restored = ref(false)
  const kept = ref(true) // false: this browser keeps no drafts
  let timer: ReturnType<typeof setTimeout> | undefined
  let begun = false
  let keptFiles: File[] | null = null // those on the shelf

  /** Take up what was left here before. */
  async function begin(): Promise<void> {
    if (begun) return
    begun = true
    const found = await shelf.load(Date.now())
    if (found !== null && isWritten(found)) {
      Object.assign(draft, found)
      keptFiles = toRaw(draft.files)
      restored.value = true
    }
    watch(() => ({ ...draft }), soon)
  }

  function soon(): void {
    clearTimeout(timer)
    timer = setTimeout(() => void save(), draft.sending ? 0 : PAUSE)
  }

  async function save(): Promise<void> {
    clearTimeout(timer)
    const now = plain(draft)
    const files = toRaw(draft.files) // always replaced, never changed in place
    kept.value = await shelf.save(now, Date.now(), files !== keptFiles)
    if (kept.value) keptFiles = files
  }

  /** Forget it and begin an empty one. */
  async function startAnew(): Promise<void> {
    Object.assign(draft, emptyDraft())
    keptFiles = null
    restored.value = false
    clearTimeout(timer)
    await shelf.discard()
    clearTimeout(timer) // the change above asked for a save
  }

  const leaving = () => {
    if (document.visibilityState === 'hidden' && isWritten(draft)) void save()
  }
  document.addEventListener('visibilitychange', leaving)
  onScopeDispose(() => {
    document.removeEventListener('visibilitychange', leaving)
    clearTimeout(timer)
  })
  return { draft, restored, kept, begin, startAnew }
}

/** A copy without Vue's proxies, which IndexedDB cannot clone. */
const plain = (draft: Draft): Draft => ({ ...toRaw(draft), files: toRaw(draft.files).map((file) => toRaw(file)) })
