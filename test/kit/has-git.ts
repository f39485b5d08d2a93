import { spawnSync } from 'node:child_process'

/** Some tests need repositories of their own making. */
export const hasGit = spawnSync('git', ['--version']).status === 0
