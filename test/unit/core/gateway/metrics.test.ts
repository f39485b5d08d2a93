import { expect, test } from 'vitest'
import { metricsText } from '../../../../core/gateway/metrics.ts'

test('metrics are written as Prometheus reads them, whatever a device is called', () => {
  const text = metricsText({
    ready: [{ value: 1 }],
    tasks_total: [{ value: 3, state: 'failed' }],
    task_seconds_bucket: [{ value: 2, le: '+Inf' }],
    task_seconds_sum: [{ value: 1.5 }],
    vram_bytes: [{ value: 8, device: 'a "b" \\ 显卡\n' }],
  })
  expect(text).toBe(
    [
      '# TYPE nightshift_ready gauge',
      'nightshift_ready 1',
      '# TYPE nightshift_tasks_total counter',
      'nightshift_tasks_total{state="failed"} 3',
      '# TYPE nightshift_task_seconds histogram',
      'nightshift_task_seconds_bucket{le="+Inf"} 2',
      'nightshift_task_seconds_sum 1.5',
      '# TYPE nightshift_vram_bytes gauge',
      'nightshift_vram_bytes{device="a \\"b\\" \\\\ 显卡\\n"} 8',
      '',
    ].join('\n'),
  )
})
