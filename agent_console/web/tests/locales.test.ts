import { expect, test } from 'vitest'
import consoleEn from '../src/console/locales/en'
import consoleRu from '../src/console/locales/ru'
import { letterEn, letterRu } from '../src/console/letter/locales'
import statusEn from '../src/status/locales/en'
import statusRu from '../src/status/locales/ru'
import writeEn from '../src/write/locales/en'
import writeRu from '../src/write/locales/ru'

type Words = { [key: string]: string | Words }

const placeholders = (text: string) => new Set(text.match(/\{\w+\}/g) ?? [])

function* leaves(words: Words, path = ''): Generator<[string, string]> {
  for (const [key, value] of Object.entries(words))
    if (typeof value === 'string') yield [`${path}${key}`, value]
    else yield* leaves(value, `${path}${key}.`)
}

test.each([
  ['console', consoleRu as Words, consoleEn as Words],
  ['letter', letterRu as Words, letterEn as Words],
  ['status', statusRu as Words, statusEn as Words],
  ['write', writeRu as Words, writeEn as Words],
])('the %s page says everything in both languages, with the same values filled in', (_, ru, en) => {
  const english = new Map(leaves(en))
  for (const [key, russian] of leaves(ru)) {
    const translated = english.get(key)
    expect(translated, key).toBeTruthy()
    expect(placeholders(translated ?? ''), key).toEqual(placeholders(russian))
    english.delete(key)
  }
  expect([...english.keys()]).toEqual([])
})
