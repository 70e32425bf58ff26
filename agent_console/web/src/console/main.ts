import { createPinia } from 'pinia'
import { createApp } from 'vue'
import { installAdoptedStyles } from '../shared/adopted-styles'
import { pageI18n } from '../shared/i18n'
import App from './App.vue'
import './console.css'
import './letter/letter.css'
import { letterEn, letterRu } from './letter/locales'
import en from './locales/en'
import ru from './locales/ru'
import { consoleVuetify } from './vuetify'

const app = createApp(App)
installAdoptedStyles(app)
app.use(createPinia()).use(pageI18n({ ru: { ...ru, ...letterRu }, en: { ...en, ...letterEn } })).use(consoleVuetify()).mount('#app')
