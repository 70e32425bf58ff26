/** A fault that was told goes away as soon as its field has been mended; new ones are told at the next try only. */
import { watch, type Ref } from 'vue'
import type { Fault } from './check'
import type { Draft } from './draft'

export function useMending(draft: Draft, told: Ref<Fault[]>, check: () => Fault[]): void {
  watch(
    () => ({ ...draft }),
    (now, before) => {
      if (told.value.length === 0) return
      const wrong = new Set(check().map(({ field }) => field))
      const changed = new Set(Object.keys(now).filter((key) => now[key as keyof Draft] !== before[key as keyof Draft]))
      if (changed.has('answerBy')) for (const field of ['answer_by', 'email', 'phone']) changed.add(field)
      told.value = told.value.filter(({ field }) => wrong.has(field) || !changed.has(field))
    },
  )
}
