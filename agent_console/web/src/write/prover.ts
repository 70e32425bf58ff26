/** Gets a challenge for a submission and solves it, in a worker while the citizen types; keeps it while it is valid. */
import { postJson } from '../shared/http'
import { searchSolution, type Challenge } from './proof-of-work'

const STEP_ON_PAGE = 2000 // hashes between two looks at the citizen, where there are no workers
const SPENT_SHARE = 0.5 // of its life: an older one might run out during a slow upload

interface ChallengeView extends Challenge {
  expires_in_s: number
}

export interface Proof {
  challenge: string
  solution: string
}

export class Prover {
  private proof: Promise<Proof> | null = null
  private freshUntil = 0

  constructor(private readonly submissionId: string) {}

  /** Begin now, so that nobody has to wait later. Failures are met again by `get`. */
  begin(): void {
    this.get().catch(() => this.forget())
  }

  /** The solved challenge. RequestError if there is none to be had. */
  get(): Promise<Proof> {
    if (this.proof === null || Date.now() > this.freshUntil) {
      this.freshUntil = Number.POSITIVE_INFINITY
      this.proof = this.prove()
      this.proof.catch(() => this.forget())
    }
    return this.proof
  }

  /** The server did not take it: the next `get` asks for another. */
  forget(): void {
    this.proof = null
  }

  private async prove(): Promise<Proof> {
    const wanted = await postJson<ChallengeView>('/citizen/challenge', { submission_id: this.submissionId })
    this.freshUntil = Date.now() + wanted.expires_in_s * 1000 * SPENT_SHARE
    const { challenge, difficulty_bits } = wanted
    return { challenge, solution: await solve({ challenge, difficulty_bits }) }
  }
}

async function solve(wanted: Challenge): Promise<string> {
  try {
    return await solveInWorker(wanted)
  } catch {
    return solveOnPage(wanted) // a browser that forbids workers
  }
}

function solveInWorker(wanted: Challenge): Promise<string> {
  const worker = new Worker(new URL('./solver.ts', import.meta.url), { type: 'module' })
  return new Promise<string>((resolve, reject) => {
    worker.onmessage = (event: MessageEvent<string>) => resolve(event.data)
    worker.onerror = () => reject(new Error('no worker'))
    worker.postMessage(wanted)
  }).finally(() => worker.terminate())
}

async function solveOnPage(wanted: Challenge): Promise<string> {
  for (let from = 0; ; from += STEP_ON_PAGE) {
    const solution = searchSolution(wanted, from, STEP_ON_PAGE)
    if (solution !== null) return solution
    await new Promise((resolve) => setTimeout(resolve))
  }
}
