import { createApp } from 'vue'
import { pageI18n } from '../shared/i18n'
import App from './App.vue'
import writeEn from '../write/locales/en'
import writeRu from '../write/locales/ru'
import en from './locales/en'
import ru from './locales/ru'
import './status.css'
import '../write/write.css'

createApp(App).use(pageI18n({ ru: { ...writeRu, ...ru }, en: { ...writeEn, ...en } })).mount('#app')
