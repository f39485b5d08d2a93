import {
  Background,
  BackgroundVariant,
  Controls,
  type Edge,
  Handle,
  type Node,
  type NodeProps,
  Position,
  ReactFlow,
  useReactFlow,
} from '@xyflow/react'
import { memo, useEffect, useMemo } from 'react'
import type { z } from 'zod'
import type { Graph, GraphNode } from '../../core/contract/workflow.ts'
import { useWords } from '../i18n.ts'

type Drawn = Node<{ node: z.infer<typeof GraphNode>; lit: boolean }>
/** ComfyUI's own colours of links, as far as people know them. */
const linkColours: Record<string, string> = {
  MODEL: '#8f7fd6',
  CLIP: '#c99a2e',
  VAE: '#d2605f',
  CONDITIONING: '#cf8139',
  LATENT: '#c067b5',
  IMAGE: '#4a8fd4',
  MASK: '#5fa05a',
}

const DrawnNode = memo(({ data: { node, lit } }: NodeProps<Drawn>) => {
  const { t } = useWords()
  const faded = node.mode === 'muted' || node.mode === 'bypassed'
  return (
    <div
      className={`size-full overflow-hidden rounded-lg border bg-surface shadow-low ${lit ? 'border-accent outline-2 outline-accent' : node.known ? 'border-line' : 'border-bad'} ${faded ? 'opacity-50' : ''}`}
    >
      <Handle type="target" position={Position.Left} isConnectable={false} />
      <div className={`border-b px-2.5 py-1.5 ${node.known ? 'border-line bg-sunken' : 'tone-bad border-transparent'}`}>
        <p className="truncate text-sm font-semibold">{node.title}</p>
        <p className="truncate text-2xs text-faint">
          {node.classType}
          {faded && ` · ${t(`mode.${node.mode}`)}`}
          {!node.known && ` · ${t('mode.unknown')}`}
        </p>
      </div>
      <dl className="grid gap-0.5 px-2.5 py-1.5">
        {node.values.slice(0, 12).map(({ name, value }) => (
          <div key={name} className="flex gap-2 text-2xs">
            <dt className="shrink-0 text-faint">{name}</dt>
            <dd className="ml-auto truncate text-soft" title={value}>
              {value}
            </dd>
          </div>
        ))}
      </dl>
      <Handle type="source" position={Position.Right} isConnectable={false} />
    </div>
  )
})
const nodeTypes = { drawn: DrawnNode }

/** The workflow as it looks in the editor; to look at, not to change. */
export function GraphPicture({ graph, spotlight }: { graph: Graph; spotlight: string | null }) {
  const { t } = useWords()
  const nodes = useMemo(
    () =>
      graph.nodes.map(
        (node): Drawn => ({
          id: node.id,
          type: 'drawn',
          position: { x: node.x, y: node.y },
          width: Math.max(160, node.width),
          height: Math.max(60, node.height),
          data: { node, lit: node.id === spotlight },
          ariaLabel: `${node.title} (${node.classType})`,
        }),
      ),
    [graph.nodes, spotlight],
  )
  const edges = useMemo(
    () =>
      graph.edges.map(
        ({ from, fromSlot, to, toInput, type }): Edge => ({
          id: `${from}.${fromSlot}-${to}.${toInput}`,
          source: from,
          target: to,
          focusable: false,
          style: { stroke: linkColours[type] ?? 'var(--line-strong)', strokeWidth: 1.6 },
        }),
      ),
    [graph.edges],
  )
  return (
    <section aria-label={t('workflow.graphOf', { count: graph.nodes.length })} className="absolute inset-0">
      <ReactFlow
        nodes={nodes}
        edges={edges}
        nodeTypes={nodeTypes}
        fitView
        fitViewOptions={{ padding: 0.08, maxZoom: 1 }}
        minZoom={0.02}
        maxZoom={2}
        nodesDraggable={false}
        nodesConnectable={false}
        edgesFocusable={false}
        nodesFocusable={graph.nodes.length <= 200}
        onlyRenderVisibleElements={graph.nodes.length > 200}
        deleteKeyCode={null}
        proOptions={{ hideAttribution: true }}
      >
        <Background variant={BackgroundVariant.Dots} gap={22} size={1.4} />
        <Controls showInteractive={false} position="bottom-right" aria-label={t('workflow.zoom')} />
        <Spotlight node={spotlight} />
      </ReactFlow>
    </section>
  )
}

function Spotlight({ node }: { node: string | null }) {
  const flow = useReactFlow()
  useEffect(() => {
    if (node) void flow.fitView({ nodes: [{ id: node }], maxZoom: 1, padding: 0.6, duration: 250 })
  }, [flow, node])
  return null
}
