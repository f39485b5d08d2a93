import '../styles.css'
import '../theme.ts'
import { Tooltip } from '@base-ui/react/tooltip'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { Toasts } from '../parts/overlays.tsx'
import { PublishedPage } from './page.tsx'

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <Tooltip.Provider delay={350}>
      <PublishedPage />
      <Toasts />
    </Tooltip.Provider>
  </StrictMode>,
)
