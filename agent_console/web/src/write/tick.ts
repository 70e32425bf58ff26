/** The browser's time, anew each second while the calling component lives. */
import { onScopeDispose, ref, type Ref } from 'vue'

const TICK = 1000 // ms

export function useTick(): Ref<number> {
  const now = ref(Date.now())
  const timer = setInterval(() => (now.value = Date.now()), TICK)
  onScopeDispose(() => clearInterval(timer))
  return now
}
