import {
  createHashHistory,
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
} from '@tanstack/react-router'
import type { z } from 'zod'
import type { ArtifactFilter } from '../core/contract/artifact.ts'
import type { JobState } from '../core/contract/job.ts'
import { type ModelFilter, ModelFlag, ModelKind } from '../core/contract/model.ts'
import { StartPage } from './pages/start.tsx'
import { ErrorNotice } from './parts/basics.tsx'
import { Shell } from './shell.tsx'

export interface QueueSearch {
  batch?: string
  state?: JobState
  find?: string
  job?: string
}
export interface GallerySearch {
  batch?: string
  row?: number
  job?: string
  kind?: z.infer<typeof ArtifactFilter>['kind']
  find?: string
  open?: string
  compare?: string
}

export interface CustomNodesSearch {
  view?: 'installed' | 'find' | 'missing'
  find?: string
  engine?: string
}

const modelTabs = ['library', 'get', 'duplicates', 'unused'] as const
export interface ModelsSearch {
  tab?: (typeof modelTabs)[number]
  find?: string
  kind?: ModelKind
  base?: string
  flag?: ModelFlag
  root?: string
  sort?: ModelFilter['sort']
  open?: string
}

const text = (value: unknown) => (typeof value === 'string' && value !== '' ? value : undefined)
const states = ['waiting', 'running', 'done', 'failed', 'cancelled', 'parked']
const kinds = ['image', 'video', 'audio', 'text', '3d', 'other']

const root = createRootRoute({
  component: Shell,
  errorComponent: ({ error, reset }) => (
    <div className="p-6">
      <ErrorNotice cause={error} onRetry={reset} />
    </div>
  ),
})
const start = createRoute({ getParentRoute: () => root, path: '/', component: StartPage })
const workflow = createRoute({
  getParentRoute: () => root,
  path: '/workflow/$id',
  component: lazyRouteComponent(() => import('./pages/workflow.tsx'), 'WorkflowPage'),
})
const batch = createRoute({
  getParentRoute: () => root,
  path: '/batch/$id',
  component: lazyRouteComponent(() => import('./pages/batch.tsx'), 'BatchPage'),
})
const panelSearch = (raw: Record<string, unknown>): { panel?: number } => ({
  panel: Number.isInteger(raw.panel) && Number(raw.panel) > 0 ? Number(raw.panel) : undefined,
})
const form = createRoute({
  getParentRoute: () => root,
  path: '/form/$id',
  component: lazyRouteComponent(() => import('./pages/form.tsx'), 'FormPage'),
  validateSearch: panelSearch,
})
const panelEditor = createRoute({
  getParentRoute: () => root,
  path: '/form/$id/edit',
  component: lazyRouteComponent(() => import('./pages/panel-editor.tsx'), 'PanelEditorPage'),
  validateSearch: panelSearch,
})
const queue = createRoute({
  getParentRoute: () => root,
  path: '/queue',
  component: lazyRouteComponent(() => import('./pages/queue.tsx'), 'QueuePage'),
  validateSearch: (raw: Record<string, unknown>): QueueSearch => ({
    batch: text(raw.batch),
    state: states.includes(String(raw.state)) ? (raw.state as JobState) : undefined,
    find: text(raw.find),
    job: text(raw.job),
  }),
})
const gallery = createRoute({
  getParentRoute: () => root,
  path: '/gallery',
  component: lazyRouteComponent(() => import('./pages/gallery.tsx'), 'GalleryPage'),
  validateSearch: (raw: Record<string, unknown>): GallerySearch => ({
    batch: text(raw.batch),
    row: Number.isInteger(raw.row) ? Number(raw.row) : undefined,
    job: text(raw.job),
    kind: kinds.includes(String(raw.kind)) ? (raw.kind as GallerySearch['kind']) : undefined,
    find: text(raw.find),
    open: text(raw.open),
    compare: text(raw.compare),
  }),
})
const workers = createRoute({
  getParentRoute: () => root,
  path: '/workers',
  component: lazyRouteComponent(() => import('./pages/workers.tsx'), 'WorkersPage'),
})
const publish = createRoute({
  getParentRoute: () => root,
  path: '/publish',
  component: lazyRouteComponent(() => import('./pages/publish.tsx'), 'PublishPage'),
  validateSearch: (raw: Record<string, unknown>): { endpoint?: string } => ({ endpoint: text(raw.endpoint) }),
})
const endpoints = createRoute({
  getParentRoute: () => root,
  path: '/endpoints',
  component: lazyRouteComponent(() => import('./pages/endpoints.tsx'), 'EndpointsPage'),
})
const engine = createRoute({
  getParentRoute: () => root,
  path: '/engine',
  component: lazyRouteComponent(() => import('./pages/engine.tsx'), 'EnginePage'),
})
const customNodes = createRoute({
  getParentRoute: () => root,
  path: '/custom-nodes',
  component: lazyRouteComponent(() => import('./pages/custom-nodes.tsx'), 'CustomNodesPage'),
  validateSearch: (raw: Record<string, unknown>): CustomNodesSearch => ({
    view: (['installed', 'find', 'missing'] as const).find((view) => view === raw.view),
    find: text(raw.find),
    engine: text(raw.engine),
  }),
})
const among = <T extends string>(choices: readonly T[], value: unknown): T | undefined =>
  choices.find((choice) => choice === value)
const models = createRoute({
  getParentRoute: () => root,
  path: '/models',
  component: lazyRouteComponent(() => import('./pages/models.tsx'), 'ModelsPage'),
  validateSearch: (raw: Record<string, unknown>): ModelsSearch => ({
    tab: among(modelTabs, raw.tab),
    find: text(raw.find),
    kind: among(ModelKind.options, raw.kind),
    base: text(raw.base),
    flag: among(ModelFlag.options, raw.flag),
    root: text(raw.root),
    sort: among(['name', 'newest', 'largest', 'last-used'], raw.sort),
    open: text(raw.open),
  }),
})
const downloads = createRoute({
  getParentRoute: () => root,
  path: '/downloads',
  component: lazyRouteComponent(() => import('./pages/downloads.tsx'), 'DownloadsPage'),
})
const mirrors = createRoute({
  getParentRoute: () => root,
  path: '/mirrors',
  component: lazyRouteComponent(() => import('./pages/mirrors.tsx'), 'MirrorsPage'),
})
const settings = createRoute({
  getParentRoute: () => root,
  path: '/settings',
  component: lazyRouteComponent(() => import('./pages/settings.tsx'), 'SettingsPage'),
})

export const router = createRouter({
  routeTree: root.addChildren([
    start,
    workflow,
    form,
    panelEditor,
    batch,
    queue,
    gallery,
    workers,
    endpoints,
    publish,
    engine,
    models,
    customNodes,
    downloads,
    mirrors,
    settings,
  ]),
  history: createHashHistory(),
  defaultPreload: 'intent',
  scrollRestoration: false,
  defaultPendingMinMs: 0,
})
declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router
  }
}
