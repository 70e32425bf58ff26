/** One action at a time: a button shows that it works and cannot be pressed twice; what goes wrong is told to the person. */
import { ref, type Ref } from 'vue'
import { RequestError } from '../shared/http'
import { CommandError, ConnectionLostError } from './connection'
import { useDesk, type Notice } from './desk'

export function useBusy<Arguments extends unknown[]>(
  action: (...given: Arguments) => Promise<void>,
): { busy: Ref<boolean>; run: (...given: Arguments) => Promise<boolean> } {
  const desk = useDesk()
  const busy = ref(false)
  async function run(...given: Arguments): Promise<boolean> {
    if (busy.value) return false
    busy.value = true
    try {
      await action(...given)
      return true
    } catch (error) {
      desk.tell(noticeOf(error))
      return false
    } finally {
      busy.value = false
    }
  }
  return { busy, run }
}

export function noticeOf(error: unknown): Notice {
  if (error instanceof CommandError || error instanceof RequestError)
    return { kind: 'error', text: error.text, incident: error.incident }
  if (error instanceof ConnectionLostError) return { kind: 'error', key: 'notice.lost' }
  console.error(error)
  return { kind: 'error', key: 'notice.unexpected' }
}
