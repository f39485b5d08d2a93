import path from 'node:path'

/** What ships beside the code. The bundles lie as deep as this file. */
export const resourcesDir = path.resolve(import.meta.dirname, '../../resources')
