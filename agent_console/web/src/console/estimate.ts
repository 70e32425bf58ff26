/** What sending a text would take, asked of the server a moment after the last key. */
import { onScopeDispose, ref, watch, type Ref } from 'vue'
import type { EstimateView } from '../protocol'
import { postJson, RequestError } from '../shared/http'

const PAUSE = 400 // ms without a key

/** `number`: of the appeal, null where nothing is to be counted. The newest answer, null while there is none. */
export function useEstimate(number: () => string | null, text: () => string): Ref<EstimateView | null> {
  const found = ref<EstimateView | null>(null)
  let timer: ReturnType<typeof setTimeout> | undefined
  let asked = 0

  watch(
    [number, text],
    ([of, words]) => {
      clearTimeout(timer)
      asked += 1
      if (of === null || words === '') found.value = null
      else timer = setTimeout(() => void ask(of, words, asked), PAUSE)
    },
    { immediate: true },
  )
  onScopeDispose(() => clearTimeout(timer))

  async function ask(of: string, words: string, turn: number): Promise<void> {
    try {
      const answer = await postJson<EstimateView>(`/appeals/${of}/estimate`, { text: words })
      if (turn === asked) found.value = answer
    } catch (error) {
      if (!(error instanceof RequestError)) throw error
      if (turn === asked) found.value = null // it is only a help: sending tells what is wrong
    }
  }
  return found
}
