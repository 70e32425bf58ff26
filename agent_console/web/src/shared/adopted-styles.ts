/**
 * Vuetify writes its theme as a <style> element, which a Content-Security-Policy without 'unsafe-inline' refuses.
 * It hands the text to a head manager (`usehead`) if the page has one: this one keeps it in a constructed style sheet,
 * which the policy allows.
 */
import type { App } from 'vue'

interface StyleEntry {
  style: { textContent: string }[]
}

export function installAdoptedStyles(app: App): void {
  const push = (entry: () => StyleEntry) => {
    const sheet = new CSSStyleSheet()
    const patch = (newer: () => StyleEntry) =>
      sheet.replaceSync(
        newer()
          .style.map((style) => style.textContent)
          .join('\n'),
      )
    patch(entry)
    document.adoptedStyleSheets.push(sheet)
    return { patch }
  }
  app.provide('usehead', { push })
}
