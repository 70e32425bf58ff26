/** Titles of the topics in the default taxonomy (config/defaults/taxonomy.yaml); another topic shows its code. */
import type { Language } from '../shared/preferences'

const TITLES: Record<string, Record<Language, string>> = {
  'housing.heating': { ru: 'Отопление', en: 'Heating' },
  'housing.water': { ru: 'Водоснабжение', en: 'Water supply' },
  'housing.leak': { ru: 'Протечка, авария на трубах', en: 'Leak or burst pipe' },
  'housing.lift': { ru: 'Лифт', en: 'Lift' },
  'housing.gas': { ru: 'Газ', en: 'Gas' },
  'housing.upkeep': { ru: 'Уборка и ремонт подъезда', en: 'Cleaning and repair of the stairwell' },
  'roads.pothole': { ru: 'Ямы на дороге', en: 'Potholes' },
  'roads.snow': { ru: 'Снег и наледь', en: 'Snow and ice' },
  'roads.signals': { ru: 'Светофоры и знаки', en: 'Traffic lights and signs' },
  'roads.parking': { ru: 'Парковка', en: 'Parking' },
  'transport.schedule': { ru: 'Общественный транспорт', en: 'Public transport' },
  'lighting.street': { ru: 'Уличное освещение', en: 'Street lighting' },
  'waste.collection': { ru: 'Вывоз мусора', en: 'Waste collection' },
  'waste.dump': { ru: 'Свалка', en: 'Illegal dump' },
  'social.benefits': { ru: 'Пособия и льготы', en: 'Benefits and allowances' },
  'social.medical': { ru: 'Медицинская помощь', en: 'Medical care' },
  'education.kindergarten': { ru: 'Детский сад', en: 'Kindergarten' },
  'education.school': { ru: 'Школа', en: 'School' },
  'documents.certificate': { ru: 'Справки и документы', en: 'Certificates and documents' },
  'noise.neighbours': { ru: 'Шум', en: 'Noise' },
  'ecology.trees': { ru: 'Деревья и зелёные насаждения', en: 'Trees and greenery' },
  'ecology.pollution': { ru: 'Загрязнение воздуха и воды', en: 'Air and water pollution' },
  'safety.playground': { ru: 'Детская площадка', en: 'Playground' },
  'safety.animals': { ru: 'Бездомные животные', en: 'Stray animals' },
  'payments.utilities': { ru: 'Квитанции и начисления', en: 'Utility bills' },
  unknown: { ru: 'Тема не определена', en: 'Topic not known' },
}

export const topicTitle = (code: string | null, language: Language): string =>
  code === null ? '' : (TITLES[code]?.[language] ?? code)
