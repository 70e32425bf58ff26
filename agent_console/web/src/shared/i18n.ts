/** vue-i18n for one page, in the language of `preferences`. */
import { watch } from 'vue'
import { createI18n } from 'vue-i18n'
import { language, type Language } from './preferences'

type Messages = Record<Language, object>

/** Russian has three forms: 1 день, 2 дня, 5 дней (CLDR one, few, many). */
function russianPlural(choice: number, forms: number): number {
  const tens = Math.abs(choice) % 100
  const ones = tens % 10
  const form = tens > 10 && tens < 20 ? 2 : ones === 1 ? 0 : ones >= 2 && ones <= 4 ? 1 : 2
  return Math.min(form, forms - 1)
}

export function pageI18n(messages: Messages) {
  const i18n = createI18n({
    legacy: false,
    locale: language.value,
    fallbackLocale: 'ru',
    messages: messages as Record<Language, Record<string, string>>,
    pluralRules: { ru: russianPlural },
  })
  watch(
    language,
    (chosen) => {
      i18n.global.locale.value = chosen
      document.documentElement.lang = chosen
    },
    { immediate: true },
  )
  return i18n
}
