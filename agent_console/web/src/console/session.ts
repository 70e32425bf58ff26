/** Who is logged in. */
import { defineStore } from 'pinia'
import { ref } from 'vue'
import type { OfficeView, SessionView } from '../protocol'
import { getJson, postJson, remove, RequestError } from '../shared/http'

const UNAUTHENTICATED = 401

export const useSession = defineStore('session', () => {
  const session = ref<SessionView | null>(null)
  const office = ref<OfficeView | null>(null)
  const known = ref(false) // false until the server said whether there is a session

  /** Ask who is logged in. RequestError if the server cannot say. */
  async function load(): Promise<boolean> {
    try {
      session.value = await getJson<SessionView>('/session')
      office.value = session.value.office
      known.value = true
      return true
    } catch (error) {
      if (!(error instanceof RequestError) || error.status !== UNAUTHENTICATED) throw error
      forget()
      return false
    }
  }

  async function logIn(agentId: string, password: string): Promise<void> {
    session.value = await postJson<SessionView>('/session', { agent_id: agentId, password })
    office.value = session.value.office
    known.value = true
  }

  async function logOut(): Promise<void> {
    await remove('/session')
    forget()
  }

  /** The session is over, whoever ended it. */
  function forget(): void {
    session.value = null
    known.value = true
  }

  async function loadOffice(): Promise<void> {
    office.value = await getJson<OfficeView>('/office')
  }

  return { session, office, known, load, logIn, logOut, forget, loadOffice }
})
