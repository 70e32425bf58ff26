/// <reference types="vite/client" />

declare module 'vuetify/styles/layers'
declare module 'vuetify/styles/core'
