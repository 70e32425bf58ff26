/** Vuetify with our colours and only the icons we use (SVG paths: no font to load). */
import 'vuetify/styles/layers'
import 'vuetify/styles/core'
import { createVuetify } from 'vuetify'
import { aliases, mdi } from 'vuetify/iconsets/mdi-svg'
import { en, ru } from 'vuetify/locale'
import { dark, language } from '../shared/preferences'

// Each pair of text and ground has a contrast of at least 4.5 (WCAG 2.2 AA).
const light = {
  dark: false,
  colors: {
    background: '#f3f5f7',
    surface: '#ffffff',
    primary: '#1d5a8c',
    secondary: '#4a5b6a',
    error: '#b3261e',
    warning: '#8a5300',
    success: '#1e6b3a',
    info: '#1d5a8c',
  },
  variables: { 'medium-emphasis-opacity': 0.76 }, // labels and hints; Vuetify's 0.6 falls short
}
const darkTheme = {
  dark: true,
  colors: {
    background: '#12171c',
    surface: '#1b2229',
    primary: '#8fc1ea',
    secondary: '#a9b8c4',
    error: '#f2a099',
    warning: '#efbb6b',
    success: '#8fd3a5',
    info: '#8fc1ea',
  },
}

export function consoleVuetify() {
  return createVuetify({
    theme: { defaultTheme: dark.value ? 'dark' : 'light', themes: { light, dark: darkTheme } },
    icons: { defaultSet: 'mdi', aliases, sets: { mdi } },
    locale: { locale: language.value, fallback: 'en', messages: { ru, en } },
    defaults: {
      VBtn: { variant: 'flat', rounded: 'md' },
      VTextField: { variant: 'outlined', density: 'comfortable', hideDetails: 'auto' },
      VTextarea: { variant: 'outlined', density: 'comfortable', hideDetails: 'auto' },
    },
  })
}
