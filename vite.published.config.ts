import path from 'node:path'
import app from './vite.config.ts'

/** The page an agent shows to people: a part of the renderer, beside the agent's bundle. */
export default {
  ...app,
  root: path.resolve(import.meta.dirname, 'renderer/published'),
  publicDir: false,
  build: { ...app.build, outDir: path.resolve(import.meta.dirname, 'out/agent/form') },
}
