/** The icons of channels and delivery states. */
import {
  mdiAccountOutline,
  mdiAlertCircleOutline,
  mdiCheck,
  mdiCheckAll,
  mdiClockOutline,
  mdiEmailOpenOutline,
  mdiEmailOutline,
  mdiEyeCheckOutline,
  mdiFax,
  mdiMessageTextOutline,
  mdiProgressUpload,
  mdiSendOutline,
  mdiTabletDashboard,
  mdiWeb,
} from '@mdi/js'
import type { Channel, DeliveryState } from '../protocol'

export const CHANNEL_ICONS: Record<Channel, string> = {
  email: mdiEmailOutline,
  sms: mdiMessageTextOutline,
  telegram: mdiSendOutline,
  kiosk: mdiTabletDashboard,
  fax: mdiFax,
  web: mdiWeb,
  paper: mdiEmailOpenOutline,
  in_person: mdiAccountOutline,
}

export const DELIVERY_ICONS: Record<DeliveryState, string> = {
  queued: mdiClockOutline,
  sending: mdiProgressUpload,
  sent: mdiCheck,
  delivered: mdiCheckAll,
  read: mdiEyeCheckOutline,
  failed: mdiAlertCircleOutline,
}
