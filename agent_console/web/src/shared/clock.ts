/** The server's time: countdowns must not depend on how well a desk's clock is set. */
import { onScopeDispose, ref, type Ref } from 'vue'

const TICK = 1000 // ms
const TRUSTED_SKEW = 2000 // ms; the Date header has whole seconds, and the answer travelled

let offset = 0 // ms to add to the browser's clock

/** Take the server's time from a `Date` header (RFC 9110 §6.6.1). */
export function observeServerTime(header: string | null): void {
  const server = header === null ? Number.NaN : Date.parse(header)
  if (Number.isNaN(server)) return
  const skew = server - Date.now()
  offset = Math.abs(skew) > TRUSTED_SKEW ? skew : 0
}

/** Milliseconds since the epoch by the server's clock. */
export const serverNow = (): number => Date.now() + offset

/** The server's time, anew each second while the calling component lives. */
export function useNow(): Ref<number> {
  const now = ref(serverNow())
  const timer = setInterval(() => (now.value = serverNow()), TICK)
  onScopeDispose(() => clearInterval(timer))
  return now
}
