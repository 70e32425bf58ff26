import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { effectScope, nextTick, ref, type EffectScope } from 'vue'
import { useEstimate } from '../src/console/estimate'

let scope: EffectScope
let asked: string[]

beforeEach(() => {
  vi.useFakeTimers()
  scope = effectScope()
  asked = []
  vi.stubGlobal('fetch', async (_: string, options: { body: string }) => {
    const { text } = JSON.parse(options.body) as { text: string }
    asked.push(text)
    return new Response(JSON.stringify({ parts: text.length }), { status: text === 'down' ? 503 : 200 })
  })
})
afterEach(() => {
  scope.stop()
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

const pause = async () => {
  await nextTick()
  await vi.advanceTimersByTimeAsync(500)
}

test('asks once, a moment after the last key, and tells nothing where nothing is counted', async () => {
  const number = ref<string | null>('1')
  const text = ref('')
  const found = scope.run(() => useEstimate(() => number.value, () => text.value))!
  for (const typed of ['a', 'ab', 'abc']) {
    text.value = typed
    await nextTick()
  }
  await pause()
  expect(asked).toEqual(['abc'])
  expect(found.value?.parts).toBe(3)
  text.value = 'down'
  await pause()
  expect(found.value).toBeNull()
  number.value = null
  text.value = 'abcd'
  await pause()
  expect(asked).toEqual(['abc', 'down'])
})
