import { Link, useNavigate } from '@tanstack/react-router'
import { ClipboardPaste, FileJson, FolderOpen, LayoutList, Play, Trash2, TriangleAlert, Workflow } from 'lucide-react'
import { useState } from 'react'
import type { WorkflowSummary } from '../../core/contract/workflow.ts'
import { thumbUrl, useAsk, useDo } from '../client/client.ts'
import { chooseFiles, WORKFLOW_FILES } from '../client/files.ts'
import { useWords } from '../i18n.ts'
import { pastedText, useTakeFiles } from '../intake.tsx'
import { Button, Empty, ErrorNotice, IconButton, Skeleton } from '../parts/basics.tsx'
import { SearchField } from '../parts/forms.tsx'
import { say, sayFault } from '../parts/overlays.tsx'
import { useRemoveWorkflow } from '../remove-workflow.ts'

/** The way in: drop a workflow, go on with a recent one, or try the sample. */
export function StartPage() {
  const { t, format } = useWords()
  const take = useTakeFiles()
  const navigate = useNavigate()
  const [find, setFind] = useState('')
  const workflows = useAsk('workflow.list', { limit: 100, search: find }, { placeholderData: (before) => before })
  const latest = useAsk('artifact.page', { limit: 8, kind: 'image' })
  const sample = useDo('workflow.sample', {
    onError: sayFault,
    onSuccess: ({ id }) => navigate({ to: '/workflow/$id', params: { id } }),
  })
  async function paste() {
    try {
      const text = await navigator.clipboard.readText()
      const pasted = pastedText(text)
      if (pasted) await take(pasted.files, pasted.addresses)
      else if (text.trim() !== '')
        say({ title: t('intake.notWorkflow'), description: t('intake.notWorkflowRemedy') }, 'bad')
    } catch {
      say({ title: t('start.pasteDenied'), description: t('start.pasteDeniedRemedy') }, 'bad')
    }
  }
  const rows = workflows.data?.rows ?? []
  return (
    <div className="flex-1 overflow-y-auto">
      <div className="mx-auto grid max-w-[1120px] gap-6 p-6 min-[1180px]:p-8">
        <header>
          <h1 className="text-2xl">{t('start.title')}</h1>
          <p className="mt-1 text-base text-soft">{t('start.subtitle')}</p>
        </header>
        <section
          aria-label={t('start.import')}
          className="flex flex-col items-center rounded-xl border-2 border-dashed border-line bg-surface px-6 py-9 text-center transition-colors hover:border-line-strong"
        >
          <div className="mb-3 grid size-12 place-items-center rounded-xl bg-accent-soft text-accent-ink">
            <FileJson size={22} aria-hidden />
          </div>
          <h2 className="text-lg">{t('start.drop')}</h2>
          <p className="mt-0.5 max-w-[60ch] text-soft">{t('start.dropNote')}</p>
          <div className="mt-5 flex flex-wrap justify-center gap-2">
            <Button look="primary" size="lg" icon={Play} busy={sample.isPending} onClick={() => sample.mutate({})}>
              {t('start.sample')}
            </Button>
            <Button
              size="lg"
              icon={FolderOpen}
              onClick={() => void chooseFiles(WORKFLOW_FILES, { many: true }).then(take)}
            >
              {t('start.choose')}
            </Button>
            <Button size="lg" icon={ClipboardPaste} onClick={() => void paste()}>
              {t('start.paste')}
            </Button>
          </div>
        </section>

        {(latest.data?.rows.length ?? 0) > 0 && (
          <section aria-labelledby="latest">
            <div className="mb-2 flex items-baseline justify-between">
              <h2 id="latest" className="text-base">
                {t('start.latest')}
              </h2>
              <Link to="/gallery" className="text-xs font-medium text-accent-ink hover:underline">
                {t('start.allPictures', { count: latest.data?.total ?? 0, n: format.number(latest.data?.total ?? 0) })}
              </Link>
            </div>
            <ul className="grid grid-cols-8 gap-2">
              {latest.data?.rows.map(({ id, name, batchId }) => (
                <li key={id}>
                  <Link
                    to="/gallery"
                    search={{ batch: batchId, open: id }}
                    className="block aspect-square overflow-hidden rounded-md border border-line bg-sunken"
                  >
                    <img src={thumbUrl(id)} alt={name} loading="lazy" className="size-full object-cover" />
                  </Link>
                </li>
              ))}
            </ul>
          </section>
        )}

        <section aria-labelledby="recent" className="card overflow-hidden">
          <div className="flex items-center gap-3 border-b border-line px-4 py-2.5">
            <h2 id="recent" className="mr-auto text-base">
              {t('start.recent')}
            </h2>
            {(rows.length > 6 || find) && (
              <div className="w-60">
                <SearchField small label={t('start.search')} value={find} onChange={setFind} />
              </div>
            )}
          </div>
          {workflows.isPending ? (
            <div className="p-4">
              <Skeleton rows={3} height={40} />
            </div>
          ) : workflows.error ? (
            <div className="p-4">
              <ErrorNotice cause={workflows.error} onRetry={() => void workflows.refetch()} />
            </div>
          ) : rows.length === 0 ? (
            <Empty icon={Workflow} title={find ? t('common.noMatch') : t('start.none')}>
              {find ? null : t('start.noneNote')}
            </Empty>
          ) : (
            <ul>
              {rows.map((workflow) => (
                <Recent key={workflow.id} workflow={workflow} />
              ))}
            </ul>
          )}
        </section>
      </div>
    </div>
  )
}

function Recent({ workflow }: { workflow: WorkflowSummary }) {
  const { t, format } = useWords()
  const { id, name, nodes, problems, runnable, batches, panelCount, usedAt, importedAt } = workflow
  const remove = useRemoveWorkflow(workflow)
  return (
    <li className="group flex items-center border-b border-line last:border-0 hover:bg-hover">
      <Link
        to={panelCount > 0 ? '/form/$id' : '/workflow/$id'}
        params={{ id }}
        className="flex min-w-0 flex-1 items-center gap-3 px-4 py-2.5 -outline-offset-2"
      >
        <span className="min-w-0 flex-1">
          <span className="block truncate font-medium">{name}</span>
          <span className="num block truncate text-xs text-faint">
            {t(`format.${workflow.format}`)} · {t('start.nodes', { count: nodes, n: format.number(nodes) })}
            {batches > 0 && ` · ${t('start.batches', { count: batches, n: format.number(batches) })}`}
          </span>
        </span>
        {panelCount > 0 && (
          <span className="badge tone-accent">
            <LayoutList aria-hidden /> {t('start.hasForm')}
          </span>
        )}
        {problems > 0 && (
          <span className={`badge ${runnable ? 'tone-warn' : 'tone-bad'}`}>
            <TriangleAlert aria-hidden /> {t('start.problems', { count: problems })}
          </span>
        )}
        <span className="w-28 shrink-0 text-right text-xs text-faint">{format.ago(usedAt ?? importedAt)}</span>
      </Link>
      <Link to="/batch/$id" params={{ id }} className="btn btn-sm mr-1">
        {t('start.makeBatch')}
      </Link>
      <IconButton
        label={t('start.remove', { name })}
        icon={Trash2}
        size="sm"
        className="mr-3"
        busy={remove.isPending}
        onClick={() => remove.mutate({ id })}
      />
    </li>
  )
}
