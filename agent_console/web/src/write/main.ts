import { createApp } from 'vue'
import { pageI18n } from '../shared/i18n'
import App from './App.vue'
import en from './locales/en'
import ru from './locales/ru'
import '../status/status.css'
import './write.css'

createApp(App).use(pageI18n({ ru, en })).mount('#app')
