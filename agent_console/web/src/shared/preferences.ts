/** What a person chose for this browser: the language and the colours. Kept in localStorage where that is allowed. */
import { computed, ref, watch, type Ref } from 'vue'

export type Language = 'ru' | 'en'
export type ColourChoice = 'system' | 'light' | 'dark'

const LANGUAGES: readonly Language[] = ['ru', 'en']
const COLOUR_CHOICES: readonly ColourChoice[] = ['system', 'light', 'dark']

/** The first language of the browser's list that we speak; Russian where there is none. */
export function preferredLanguage(wanted: readonly string[]): Language {
  for (const tag of wanted) {
    const language = tag.toLowerCase().split('-')[0]
    const known = LANGUAGES.find((candidate) => candidate === language)
    if (known) return known
  }
  return 'ru'
}

/** A ref that starts with what was stored (if it is one of `allowed`) and stores every change. */
function remembered<T extends string>(key: string, allowed: readonly T[], initial: T): Ref<T> {
  const stored = readStored(key)
  const value = ref(allowed.find((candidate) => candidate === stored) ?? initial) as Ref<T>
  watch(value, (changed) => store(key, changed), { flush: 'sync' })
  return value
}

function readStored(key: string): string | null {
  try {
    return localStorage.getItem(key)
  } catch {
    return null // a browser that forbids storage: the choice holds until the page is closed
  }
}

function store(key: string, value: string): void {
  try {
    localStorage.setItem(key, value)
  } catch {
    // as above
  }
}

export const language = remembered('okno.language', LANGUAGES, preferredLanguage(navigator.languages))
export const colours = remembered('okno.colours', COLOUR_CHOICES, 'system')

const media = window.matchMedia('(prefers-color-scheme: dark)')
const systemDark = ref(media.matches)
media.addEventListener('change', (event) => (systemDark.value = event.matches))

/** Whether the page is dark now. */
export const dark = computed(() => (colours.value === 'system' ? systemDark.value : colours.value === 'dark'))

export function nextColours(): void {
  colours.value = dark.value ? 'light' : 'dark'
}
