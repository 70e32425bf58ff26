/** A Web Worker that solves one challenge and answers with the solution. */
import { searchSolution, type Challenge } from './proof-of-work'

const STEP = 1 << 20

addEventListener('message', (event: MessageEvent<Challenge>) => {
  for (let from = 0; ; from += STEP) {
    const solution = searchSolution(event.data, from, STEP)
    if (solution !== null) return postMessage(solution)
  }
})
