import { z } from 'zod'

const Rectangle = z.object({ x: z.int(), y: z.int(), width: z.int().positive(), height: z.int().positive() })
export type Rectangle = z.infer<typeof Rectangle>

/** What the window remembers; theme and language too, since they are needed before the host can be asked. */
export const WindowState = z.object({
  bounds: Rectangle.nullable().catch(null).default(null),
  maximised: z.boolean().catch(false).default(false),
  theme: z.enum(['system', 'light', 'dark']).catch('system').default('system'),
  language: z.enum(['system', 'zh-CN', 'en']).catch('system').default('system'),
})
export type WindowState = z.infer<typeof WindowState>

const COMFORTABLE = { width: 1280, height: 860 }
export const SMALLEST = { width: 720, height: 520 }
/** Of the title bar, to be able to drag it. */
const GRIP = { width: 120, height: 40 }

/**
 * Where to open: as it was, if its title bar can still be reached on one of the screens; else comfortable, and left to
 * the system where (no x, y). Never larger than the screen.
 */
export function placeWindow(
  saved: Rectangle | null,
  workAreas: readonly Rectangle[],
): { x?: number; y?: number; width: number; height: number } {
  const home = saved && workAreas.find((area) => reachable(saved, area))
  if (!saved || !home) {
    const [area] = workAreas
    return {
      width: Math.min(COMFORTABLE.width, area?.width ?? COMFORTABLE.width),
      height: Math.min(COMFORTABLE.height, area?.height ?? COMFORTABLE.height),
    }
  }
  const width = Math.min(Math.max(saved.width, SMALLEST.width), home.width)
  const height = Math.min(Math.max(saved.height, SMALLEST.height), home.height)
  return {
    x: between(home.x, saved.x, home.x + home.width - width),
    y: between(home.y, saved.y, home.y + home.height - height),
    width,
    height,
  }
}

const between = (least: number, value: number, most: number) => Math.min(Math.max(value, least), most)

function reachable({ x, y, width }: Rectangle, area: Rectangle): boolean {
  const seen = Math.min(x + width, area.x + area.width) - Math.max(x, area.x)
  return seen >= GRIP.width && y >= area.y - GRIP.height && y <= area.y + area.height - GRIP.height
}
