import { z } from 'zod'
import type { Json } from './json.ts'

/**
 * Every error a person may meet: what happened, and what to do. `{name}` is filled from the facts.
 * The Chinese words are in resources/locales/zh-CN/errors.json, under the same codes.
 */
export const errors = {
  'app.internal': {
    message: 'Something went wrong inside Nightshift: {reason}',
    remedy: 'Try again; if it happens again, report it with the log.',
  },
  'app.bad-request': { message: 'The request was not understood: {reason}', remedy: 'Check the values and try again.' },
  'app.refused': {
    message: 'Not allowed: {reason}',
    remedy: 'Open Nightshift from the address it printed when it started.',
  },
  'app.unknown-procedure': {
    message: 'There is no procedure named {name}.',
    remedy: 'Update Nightshift so that both sides are the same version.',
  },
  'app.too-large': {
    message: '{name} is {sizeMiB} MiB, more than the {limitMiB} MiB that can be read.',
    remedy: 'Use a smaller file.',
  },
  'app.usage': { message: '{reason}', remedy: 'Run "nightshift help" to see the commands and their options.' },
  'app.data-in-use': {
    message: 'Another Nightshift (process {pid}) is using {dir}.',
    remedy: 'Quit it, or choose another folder with --data.',
  },
  'app.port-in-use': {
    message: 'Port {port} is taken by another program.',
    remedy: 'Choose another with --port, or 0 for any that is free.',
  },
  'app.port-refused': {
    message: 'Nightshift may not listen on {host}, port {port}: {reason}',
    remedy: 'Choose another address or port.',
  },
  'app.disconnected': {
    message: 'The connection to Nightshift was lost.',
    remedy: 'Start Nightshift again; nothing that was queued is lost.',
  },
  'app.interrupted': { message: 'Interrupted.', remedy: 'Run the same command again to continue.' },
  'app.not-found': { message: '{what} was not found.', remedy: 'It may have been removed; go back to the list.' },
  'database.newer-than-app': {
    message: 'The data folder was written by a newer Nightshift (version {at}; this one knows {known}).',
    remedy: 'Update Nightshift, or choose another data folder.',
  },
  'disk.full': {
    message: 'The disk that holds {dir} is full.',
    remedy: 'Make room, then go on: press Resume, or do the same again. What was finished stays.',
  },
  'disk.denied': {
    message: 'Nightshift may not write to {dir}.',
    remedy: 'Choose another folder, or change its permissions.',
  },

  'import.too-large': {
    message: '{name} is {sizeMiB} MiB; workflows up to {limitMiB} MiB are read.',
    remedy: 'Drop the workflow itself, not a model or an archive.',
  },
  'import.empty': { message: '{name} is empty.', remedy: 'Export the workflow again.' },
  'import.not-json': {
    message: '{name} is not readable as JSON: {reason}',
    remedy: 'Export the workflow from ComfyUI again (Save, or Export (API)).',
  },
  'import.unknown-format': {
    message: '{name} is JSON, but not a ComfyUI workflow or prompt.',
    remedy: 'Drop a file saved by ComfyUI, or a picture it made.',
  },
  'import.other-program': {
    message: '{name} is a workflow of {program}, not of ComfyUI.',
    remedy: 'Drop a workflow of ComfyUI, or a picture it made.',
  },
  'import.template-index': {
    message: '{name} is ComfyUI’s list of templates; the workflows themselves are in files of their own.',
    remedy: 'Drop the JSON file of one template.',
  },
  'import.node-templates': {
    message: '{name} holds saved node templates, which are pieces and not whole workflows.',
    remedy: 'Load them in ComfyUI, build the workflow and save that.',
  },
  'import.node-snapshot': {
    message: '{name} lists custom nodes, as ComfyUI-Manager writes them down; it is no workflow.',
    remedy: 'Drop it alone on the window, or give it to "nodes snapshot --restore".',
  },
  'import.run-record': {
    message: '{name} tells how a run went; the workflow is not in it.',
    remedy: 'Drop the workflow that was run, or a picture it made.',
  },
  'import.object-info': {
    message: '{name} lists the nodes a ComfyUI knows; it is no workflow.',
    remedy: 'Give it with --object-info, and a workflow beside it.',
  },
  'import.unsupported-file': {
    message: '{name} is a kind of file ({kind}) that holds no workflow we can read.',
    remedy: 'Drop a workflow (.json), or a picture, video or sound made by ComfyUI.',
  },
  'import.locked': {
    message: '{name} is protected by a password.',
    remedy: 'Unpack it first, and drop what was in it.',
  },
  'import.empty-archive': {
    message: 'There is no workflow in the archive {name}.',
    remedy: 'Choose an archive that holds workflows, or pictures made by ComfyUI.',
  },
  'import.too-many-files': {
    message: '{name} holds more than {limit} files.',
    remedy: 'Unpack it and drop the workflows.',
  },
  'import.damaged': {
    message: '{name} is damaged: {reason}',
    remedy: 'Copy or download it again; a picture sent through a chat app loses its workflow.',
  },
  'import.no-workflow': {
    message: 'There is no workflow in {name}.',
    remedy:
      'It was saved without metadata, or saved again or sent on by a program that removes it; use the original from ComfyUI’s output folder.',
  },
  'import.too-many-nodes': {
    message: '{name} has {nodes} nodes; up to {limit} are read.',
    remedy: 'Split the workflow.',
  },
  'convert.would-lose': {
    message: '{name} cannot be converted without losing something ({count}).',
    remedy: 'Read the list; export the workflow with "Export (API)" in ComfyUI, or allow the losses.',
  },
  'convert.no-definitions': {
    message: 'No worker could say what the nodes of {name} look like.',
    remedy: 'Connect a ComfyUI, or give an object_info file.',
  },

  'parameter.unknown': {
    message: 'The workflow has no parameter {name}.',
    remedy: 'Use a name from the list, or NODE.INPUT.',
  },
  'parameter.ambiguous': { message: '{name} could be any of {candidates}.', remedy: 'Say which one as NODE.INPUT.' },
  'parameter.name-taken': {
    message: 'There is already a parameter named {name}.',
    remedy: 'Choose another name.',
  },
  'parameter.bad-value': { message: '{name}: {reason}', remedy: 'Choose a value the node accepts.' },

  'panel.no-workflow': {
    message: 'No workflow here has all that the form {title} turns. Missing: {missing}.',
    remedy: 'Drop the workflow file together with the form.',
  },
  'panel.several-workflows': {
    message: 'The form {title} fits several workflows: {names}.',
    remedy: 'Drop the workflow file together with the form, or import the form on the page of the one you mean.',
  },
  'panel.unreadable': {
    message: '{name} holds no form.',
    remedy: 'Choose a file of forms: a list of title, prompt and params.',
  },

  'table.unreadable': {
    message: '{name} cannot be read as a table: {reason}',
    remedy: 'Save it as CSV (UTF-8) or XLSX and try again.',
  },
  'table.empty': {
    message: '{name} has no rows.',
    remedy: 'Put parameter names in the first row and one job in each row below.',
  },
  'table.too-large': { message: '{name} has more than {limit} rows.', remedy: 'Split the table.' },
  'table.unmapped': {
    message: 'The column {column} matches no parameter.',
    remedy: 'Map it with --map {column}=NAME, or leave it out.',
  },
  'batch.too-large': {
    message: 'This would make {count} jobs; up to {limit} are allowed.',
    remedy: 'Use fewer values or rows.',
  },
  'batch.empty': {
    message: 'There is nothing to queue: every row has a fault.',
    remedy: 'Mend the rows named in the list.',
  },
  'batch.faulty': {
    message: '{rows} rows have faults; the first is row {row}, {column}: {reason}',
    remedy: 'Mend the rows, or queue the good ones and leave these out.',
  },
  'batch.no-output': { message: 'The workflow saves nothing.', remedy: 'Add a Save Image (or another output) node.' },
  'batch.unknown-worker': {
    message: 'There is no worker named {name}.',
    remedy: 'Add it under Workers, or give its address.',
  },
  'batch.no-worker': {
    message: 'No worker can take this batch.',
    remedy: 'Add a ComfyUI under Workers, or choose the rehearsal.',
  },

  'worker.unreachable': {
    message: '{url} does not answer: {reason}',
    remedy: 'Check that ComfyUI is running there and that the address and port are right.',
  },
  'worker.not-comfyui': {
    message: '{url} answers, but is not a ComfyUI.',
    remedy: 'Check the address; ComfyUI usually listens on port 8188.',
  },
  'worker.unauthorised': {
    message: '{url} refused the connection (HTTP {status}).',
    remedy: 'Check the authorisation header of this worker.',
  },
  'worker.bad-address': { message: '{url} is not an address.', remedy: 'Write it like http://192.168.1.20:8188.' },
  'worker.name-taken': { message: 'There is already a worker named {name}.', remedy: 'Choose another name.' },
  'worker.duplicate': { message: 'There is already a worker at {url}.', remedy: 'Use the one in the list.' },

  'worker.shares-several': {
    message: '{url} shares several ComfyUIs: {places}.',
    remedy: 'Add them one by one by their addresses.',
  },
  'worker.shares-none': {
    message: 'The Nightshift at {url} has no ComfyUI to share.',
    remedy: 'Set one up on its Engine page, then try again.',
  },
  'tunnel.bad-address': {
    message: '{url} is not an address for ssh: {why}',
    remedy: 'Write it like ssh://user@192.168.1.20:22/?comfyui=8188; a key file is given by its full path.',
  },
  'tunnel.no-ssh': {
    message: 'There is no ssh program on this machine.',
    remedy:
      'Install the OpenSSH client (Windows: Settings, Apps, Optional features; Linux: the package openssh-client).',
  },
  'tunnel.unknown-host': {
    message: 'ssh does not know {host} yet, so nobody can say whether it is the right machine.',
    remedy: 'Run this once in a terminal and compare the fingerprint it shows: {command}',
  },
  'tunnel.changed-host': {
    message: '{host} shows another host key than before: it was set up anew, or another machine answers in its place.',
    remedy: 'If you know why, forget the old key with: {command}',
  },
  'tunnel.key-refused': {
    message: '{host} does not let {user} in with any key that ssh has.',
    remedy: 'Name the key file, add the key to ssh-agent if it has a passphrase, or try it in a terminal: {command}',
  },
  'tunnel.bad-key': {
    message: 'ssh cannot use the key {file}: {reason}',
    remedy: 'Choose a private key that only you may read.',
  },
  'tunnel.no-host': {
    message: 'No machine named {host} was found.',
    remedy: 'Check the name, or give its IP address.',
  },
  'tunnel.closed': {
    message: 'Nobody answers ssh at {host}, port {port}: {reason}',
    remedy: 'Check that the machine is on, that its ssh server runs, and the port; a firewall may be between.',
  },
  'tunnel.forbidden': {
    message: '{host} lets you in but forbids tunnels.',
    remedy: 'Whoever runs it has to allow them: AllowTcpForwarding yes in its sshd_config.',
  },
  'tunnel.no-comfyui': {
    message: 'The connection to {host} stands, but nothing listens on port {port} there.',
    remedy: 'Start ComfyUI on that machine, or correct its port.',
  },
  'tunnel.silent': {
    message: 'The connection to {host} stands, but what it leads to did not answer for {seconds} s.',
    remedy: 'Check that ComfyUI’s port on that machine is right.',
  },
  'tunnel.port-taken': {
    message: 'No port of this machine could be used for the tunnel: {reason}',
    remedy: 'It is tried again with another one by itself.',
  },
  'tunnel.ended': {
    message: 'The ssh connection to {host} ended: {reason}',
    remedy: 'It is made again by itself.',
  },
  'share.no-key': {
    message: 'No key, or one that is not right.',
    remedy: 'Make one on the Workers page of the Nightshift that shares, or with "workers keys make NAME" there.',
  },
  'share.too-many': {
    message: 'Too many requests.',
    remedy: 'Wait a minute.',
  },
  'share.refused': {
    message: 'Not shared: {reason}',
    remedy: 'Only what another Nightshift needs of a ComfyUI is shared.',
  },
  'share.not-running': {
    message: 'The ComfyUI {id} does not run on that machine now.',
    remedy: 'Start it on the Engine page there.',
  },

  'editor.none': {
    message: 'No ComfyUI is connected, and the rehearsal has no editor.',
    remedy: 'Add a ComfyUI under Workers; or download the workflow, and drop it on ComfyUI’s own page.',
  },
  'editor.not-opened': {
    message: 'ComfyUI’s editor did not open the workflow that Nightshift sent.',
    remedy: 'Reload ComfyUI’s page and open it from Nightshift again; or download the workflow and drop it there.',
  },
  'editor.no-entry': {
    message: 'This page shows ComfyUI’s editor to those who come from Nightshift.',
    remedy: 'Press “Open in ComfyUI” in Nightshift again.',
  },

  'prompt.rejected': { message: 'ComfyUI refused the prompt: {reason}', remedy: 'Mend the values named and retry.' },
  'prompt.invalid': {
    message: 'ComfyUI would refuse the prompt: {reason}',
    remedy: 'Mend the connections named in ComfyUI’s editor, and drop the workflow again.',
  },
  'prompt.missing-node': {
    message: 'The worker has no node class {classType}.',
    remedy: 'Install the custom node that brings it, or choose another worker.',
  },
  'prompt.outputs-dropped': {
    message: 'ComfyUI would have dropped some outputs: {reason}',
    remedy: 'Mend the values named and retry.',
  },
  'prompt.failed': {
    message: '{nodeType} failed: {reason}',
    remedy: 'Open the job to see the node and its inputs; retry after mending it.',
  },
  'prompt.out-of-memory': {
    message: 'The GPU ran out of memory in {nodeType}.',
    remedy: 'Use a smaller picture, a smaller batch size or a lighter model, then retry.',
  },
  'prompt.interrupted': {
    message: 'The prompt was interrupted on the worker.',
    remedy: 'Retry the job if you still want it.',
  },
  'prompt.forgotten': {
    message: 'The worker lost this prompt twice.',
    remedy: 'Look at the worker’s log, then retry.',
  },
  'prompt.no-files': {
    message: 'The prompt finished but saved no file.',
    remedy: 'Check that the workflow ends in a Save node.',
  },
  'prompt.paid': {
    message: 'The workflow uses nodes that cost money: {classTypes}.',
    remedy: 'If you mean it, tick “Allow paid nodes” on the batch page, or give --allow-paid.',
  },
  'prompt.unclear': {
    message: 'It is unclear what became of this job: {reason}',
    remedy: 'Look at the worker’s output folder, then retry or cancel.',
  },
  'input.missing': { message: 'The input file {name} is not there.', remedy: 'Choose the file again.' },
  'input.unreachable': {
    message: '{url} could not be fetched: {reason}',
    remedy: 'Connect to the network and try again, or choose a file of your own.',
  },
  'input.not-media': {
    message: '{name} is not a picture, video or sound.',
    remedy: 'Choose a file such as PNG, JPEG, WebP, MP4 or WAV.',
  },
  'output.missing': { message: 'The worker no longer has {name}.', remedy: 'Retry the job.' },
  'output.damaged': {
    message: '{name} did not arrive whole.',
    remedy: 'Retry the job; check the connection to the worker.',
  },
  'output.foreign': {
    message: '{name} on the worker was made by another prompt.',
    remedy: 'Retry the job; if it happens again, look for a custom node that saves over its own files.',
  },
  'list.unreachable': {
    message: 'The list of custom nodes could not be fetched: {reason}',
    remedy: 'Connect to the network and look again; what the file itself names is shown meanwhile.',
  },
  'list.bad-mirrors': {
    message: '{file} cannot be used: {reason}',
    remedy: 'Correct or remove the file.',
  },
  'nodes.no-python': {
    message: 'The Python of this ComfyUI, {python}, does not work: {reason}',
    remedy: 'Have the engine looked over and mended on the Engine page, or choose another Python; nothing was changed.',
  },
  'nodes.unknown': {
    message: 'There is no custom node {folder} here.',
    remedy: 'Look at the list of custom nodes; it may have been removed.',
  },
  'nodes.already': {
    message: '{folder} is installed already.',
    remedy: 'Update or enable it; two of one custom node would clash.',
  },
  'nodes.bad-name': {
    message: '{name} cannot be the name of a custom node’s folder.',
    remedy: 'Choose another name for it.',
  },
  'nodes.no-source': {
    message: 'The custom node could not be had from {source}: {reason}',
    remedy: 'Check the address and the connection, or try another mirror.',
  },
  'nodes.not-a-node': {
    message: 'There is no custom node in {source}.',
    remedy: 'A custom node is a folder with __init__.py, or one .py file.',
  },
  'nodes.unsafe': {
    message: '{folder} was refused: {reason}',
    remedy: 'Take it from its own page; this copy may be damaged or harmful.',
  },
  'nodes.changed-files': {
    message: 'Files of {folder} were changed here, and the update changes them too: {files}',
    remedy: 'Save your changes elsewhere and undo them, then update again.',
  },
  'nodes.clash': {
    message: '{folder} requires “{line}”, which cannot be together with {against}.',
    remedy: 'Go without that line, or leave the custom node out; nothing was changed.',
  },
  'nodes.needs-consent': {
    message: '{name} was not installed by Nightshift, and this would change its packages: {packages}',
    remedy: 'Agree to it, or use a ComfyUI that Nightshift installs; there a change is tried beside it first.',
  },
  'nodes.too-long': {
    message: '{what} took longer than {seconds} s and was ended.',
    remedy: 'Try again; if it repeats, go without it.',
  },
  'nodes.resolve-failed': {
    message: 'What the custom nodes require could not be worked out: {reason}',
    remedy: 'Check the connection and the Python index, then try again; nothing was changed.',
  },
  'nodes.locked-changed': {
    message: '{who} changed {package} from {wanted} to {found}, which no custom node may.',
    remedy: 'Nothing that runs was changed. Do without its script or that requirement.',
  },
  'nodes.broken': {
    message: 'The custom node {folder} does not load: {reason}',
    remedy: 'Nothing that runs was changed. Try another version of it, or look at the log.',
  },
  'nodes.classes-gone': {
    message: 'Nodes that worked would be gone: {classes}',
    remedy: 'Nothing that runs was changed. The custom node does not suit those that are there.',
  },
  'nodes.plan-gone': {
    message: 'This plan does not hold any more.',
    remedy: 'Plan the change again.',
  },
  'nodes.not-moved': {
    message: 'The folder of {folder} could not be moved: {reason}',
    remedy: 'Close programs that use files in it, then start ComfyUI again.',
  },
  'nodes.no-undo': {
    message: 'There is no earlier state of {name}’s custom nodes.',
    remedy: 'There is one after a change.',
  },
  'nodes.undoes-more': {
    message: 'The last change of {name} was none of its custom nodes: {what}. Going back would undo that.',
    remedy: 'Go back to the generation before on the engine page, or with engine rollback, if that is what you want.',
  },
  'nodes.class-missing': {
    message: 'The class {classType} is not there.',
    remedy: 'A custom node that brings it may be missing or fail to load.',
  },
  'nodes.withdrawn': {
    message: 'The Comfy registry has withdrawn {id} {version}.',
    remedy: 'Choose another version, or another package that brings the same nodes.',
  },
  'nodes.unknown-item': {
    message: 'No list knows a package called {item}.',
    remedy: 'Give the address of its repository, or look for it with "nodes find".',
  },
  'nodes.ambiguous': {
    message: '{item} could be any of {candidates}.',
    remedy: 'Say which one, as owner/repository.',
  },
  'nodes.no-engine': {
    message: 'There is no ComfyUI on this machine whose custom nodes could be changed.',
    remedy: 'Install one, or point at yours, on the Engine page.',
  },
  'nodes.which-engine': {
    message: 'There are several ComfyUIs on this machine: {candidates}.',
    remedy: 'Say which one with --engine NAME.',
  },
  'nodes.not-allowed': {
    message: '{item} is not among the custom nodes that may be added here.',
    remedy: 'Whoever keeps this machine can allow it on the Custom nodes page, under "Which may be added".',
  },
  'nodes.bad-snapshot': {
    message: '{name} is no snapshot of ComfyUI-Manager: {reason}',
    remedy: 'Choose a file from its snapshots folder.',
  },
  'mirror.unknown': {
    message: 'No place named {id} is known for {kind}.',
    remedy: 'Look at the list with "mirrors list".',
  },
  'mirror.bad-address': {
    message: '{address} cannot stand in for the official place.',
    remedy: 'Give an address such as https://mirror.example, or a pattern with {path}, {rest} or {url} in braces.',
  },
  'network.bad-proxy': {
    message: '“{address}” is no address of a proxy.',
    remedy: 'Write it as http://host:port or socks5://host:port.',
  },
  'network.bad-certificates': {
    message: 'The certificates in {file} cannot be used: {reason}',
    remedy: 'Choose a file in PEM format.',
  },
  'token.refused': {
    message: '{host} does not accept this token: {reason}',
    remedy: 'Make a new one on its page, and copy all of it.',
  },
  'artifact.gone': {
    message: '{name} is no longer in the output folder.',
    remedy: 'Put it back, or run the job again.',
  },
  'engine.unknown': {
    message: 'There is no engine named {name}.',
    remedy: 'Look at the list with "engine status".',
  },
  'engine.not-found': {
    message: 'There is no ComfyUI in {dir}.',
    remedy: 'Choose the folder that holds main.py, or the folder of the portable build.',
  },
  'engine.no-python': {
    message: 'No Python that belongs to the ComfyUI in {dir} was found.',
    remedy: 'Name the one it runs with: --python PATH.',
  },
  'engine.no-models': {
    message: 'There are no models in {dir}.',
    remedy: 'Choose the folder of a ComfyUI: the one that holds models.',
  },
  'engine.name-taken': {
    message: 'There is already an engine or worker named {name}.',
    remedy: 'Choose another name with --name.',
  },
  'engine.flag-ours': {
    message: 'The flag {flag} is set by Nightshift itself.',
    remedy: 'Leave it out; the port is a setting of the card.',
  },
  'engine.not-running': {
    message: 'ComfyUI ({name}) is not running.',
    remedy: 'Start it on the Engine page, or with "engine start".',
  },
  'engine.not-started': {
    message: '{command} could not be started: {reason}',
    remedy: 'Check that the Python of this engine is still there, or adopt the folder again.',
  },
  'engine.missing-module': {
    message: 'The Python package {module} is missing.',
    remedy:
      'Install ComfyUI’s requirements again in its Python; if a custom node needs it, start without custom nodes.',
  },
  'engine.missing-library': {
    message: 'A system library is missing: {library}',
    remedy: 'Install it with the system’s package manager (on Windows the Visual C++ runtime), then start again.',
  },
  'engine.custom-node-broken': {
    message: 'The custom node {folder} stopped ComfyUI: {reason}',
    remedy: 'Start without custom nodes; then update, disable or remove it.',
  },
  'engine.nodes-ended-it': {
    message: 'A custom node ended ComfyUI while it was being loaded (exit code {exitCode}).',
    remedy: 'Start without custom nodes; then enable them one by one to find it.',
  },
  'engine.port-taken': {
    message: 'Port {port} is used by another program{holder}.',
    remedy: 'Let Nightshift choose a free port, or end that program.',
  },
  'engine.torch-without-cuda': {
    message: 'This PyTorch was built without CUDA, so it cannot use the card.',
    remedy: 'Install the PyTorch build for your card, or run on the processor (--cpu).',
  },
  'engine.driver-too-old': {
    message: 'The graphics driver is too old for this PyTorch: {reason}',
    remedy: 'Update the NVIDIA driver, or install a PyTorch built for an older CUDA.',
  },
  'engine.no-gpu': {
    message: 'PyTorch found no card it can use: {reason}',
    remedy: 'Check the driver (nvidia-smi), the chosen card, or run on the processor (--cpu).',
  },
  'engine.gpu-unsupported': {
    message: 'This PyTorch does not support the card: {reason}',
    remedy: 'Install a PyTorch build that does: newer for a new card, older for an old one.',
  },
  'engine.cuda-failed': {
    message: 'The card or its driver failed: {reason}',
    remedy: 'Start again; if it repeats, restart the machine and update the driver.',
  },
  'engine.out-of-gpu-memory': {
    message: 'The card ran out of memory: {reason}',
    remedy: 'Close other programs that use the card, or choose smaller pictures or models.',
  },
  'engine.out-of-memory': {
    message: 'The machine ran out of memory.',
    remedy: 'Close other programs, use smaller models, or enlarge the page file.',
  },
  'engine.disk-full': {
    message: 'The disk is full: {reason}',
    remedy: 'Make room, then start again.',
  },
  'engine.denied': {
    message: 'ComfyUI may not read or write {path}.',
    remedy: 'Change its permissions, or choose another folder.',
  },
  'engine.missing-file': {
    message: 'A file is missing: {file}',
    remedy: 'Put it back, or install ComfyUI again.',
  },
  'engine.syntax-error': {
    message: '{file} cannot be read as Python (line {line}): {reason}',
    remedy: 'Undo the change made to it, or update ComfyUI; it may need a newer Python.',
  },
  'engine.wrong-python': {
    message: 'This Python does not suit ComfyUI: {reason}',
    remedy: 'Use Python 3.10 to 3.13, with packages installed for it.',
  },
  'engine.bad-model-paths': {
    message: 'ComfyUI stumbles over the list of model folders {file}: {reason}',
    remedy: 'Mend that line, or move the file away; the models it names are not found until then.',
  },
  'engine.bad-flag': {
    message: 'ComfyUI does not know these flags: {flags}',
    remedy: 'Remove them from the engine’s settings; an older ComfyUI knows fewer.',
  },
  'engine.database-locked': {
    message: 'Another ComfyUI uses the same database.',
    remedy: 'End the other one, or give this one a folder of its own.',
  },
  'engine.frontend-missing': {
    message: 'The package of ComfyUI’s web pages is missing or too old.',
    remedy: 'Install ComfyUI’s requirements again in its Python.',
  },
  'engine.killed': {
    message: 'ComfyUI was ended from outside ({how}).',
    remedy: 'It is started again by itself. If nobody did that, look for an antivirus, or for a shortage of memory.',
  },
  'engine.crashed': {
    message: 'ComfyUI crashed ({how}).',
    remedy: 'Look at the last lines of the log; it is started again by itself a few times.',
  },
  'engine.ended': {
    message: 'ComfyUI ended by itself (exit code {exitCode}): {reason}',
    remedy: 'Look at the last lines of the log; it is started again by itself a few times.',
  },
  'engine.hung': {
    message: 'ComfyUI did not answer for {seconds} s.',
    remedy: 'It was ended and is started again; if it repeats, look for a custom node that blocks it.',
  },
  'engine.silent': {
    message: 'ComfyUI said nothing for {seconds} s while starting.',
    remedy: 'Look at the last lines of the log; start without custom nodes.',
  },
  'install.no-python': {
    message: 'There is no Python that ComfyUI can use (3.10 to 3.13); found: {found}.',
    remedy: 'Install Python 3.12, name one with --python, or allow it to be fetched.',
  },
  'install.no-space': {
    message: 'The disk for the {role} ({dir}) has {freeGiB} GiB free; {needGiB} GiB are needed.',
    remedy: 'Make room there, or choose a data folder on another disk with --data.',
  },
  'install.step-failed': {
    message: 'Installing stopped at “{step}”: {reason}',
    remedy: 'Try again; it continues there. The log tells more: {log}',
  },
  'install.no-source': {
    message: 'ComfyUI could not be had from {source}: {reason}',
    remedy: 'Check the address, folder and version, or try another mirror.',
  },
  'install.unreachable': {
    message: '{what} could not be fetched: {reason}',
    remedy: 'Check the connection and the proxy, or choose another mirror; what is there already is kept.',
  },
  'install.torch-changed': {
    message: 'PyTorch {wanted} was replaced by {found}.',
    remedy: 'Install again; custom nodes may not bring another PyTorch.',
  },
  'install.no-cuda': {
    message: 'PyTorch {torch} does not see the graphics card.',
    remedy: 'Update the driver, or install with --cpu.',
  },
  'install.no-picture': {
    message: 'The new ComfyUI started but made no picture: {reason}',
    remedy: 'What ran before still runs. Look at the log.',
  },
  'install.busy': {
    message: '{name} is being installed already.',
    remedy: 'Wait for it, or cancel it first.',
  },
  'install.not-ours': {
    message: '{name} was not installed by Nightshift, so its files are not changed.',
    remedy: 'Update it with the program that installed it.',
  },
  'install.nothing-begun': {
    message: 'There is no installation of {name} to go on with.',
    remedy: 'Begin a new one.',
  },
  'install.no-generation': {
    message: '{name} has no earlier generation to go back to.',
    remedy: 'There is one after an update.',
  },

  'download.unreachable': {
    message: '{file} could not be fetched: {reason}',
    remedy: 'Check the connection and the proxy, or choose another source; what is there already is kept.',
  },
  'download.refused': {
    message: '{host} does not give {file}: {reason}',
    remedy:
      'Open its page, accept its terms or sign in there, and add a token for {host} under Mirrors; or choose another source.',
  },
  'download.not-found': {
    message: '{file} is not at {hosts} any more.',
    remedy: 'It may have been renamed or removed: look for it by its name under Models, or give another link.',
  },
  'download.damaged': {
    message: '{file} is not what it should be: its SHA-256 is {actualSha256}, not {expectedSha256}.',
    remedy: 'Choose another source; nothing was put under its name.',
  },
  'download.exists': {
    message: 'There is another file under {path} already.',
    remedy: 'Rename or move it, or choose another name.',
  },
  'download.no-space': {
    message: 'The disk that holds {dir} has {freeGiB} GiB free; {file} needs {needGiB} GiB.',
    remedy: 'Make room there; what was fetched is kept.',
  },
  'download.too-large-for-disk': {
    message: '{file} ({sizeGiB} GiB) is larger than the 4 GiB that the file system of {dir} (FAT32) can hold.',
    remedy: 'Choose a folder on another disk, or format this one as exFAT or NTFS.',
  },

  'hub.unreachable': {
    message: '{hub} does not answer: {reason}',
    remedy: 'Check the connection and the proxy, or test the mirrors.',
  },
  'hub.wrong-answer': {
    message: 'What answers for {hub} is not {hub}: {host}',
    remedy: 'A login page of this network, or a mirror that lies: open a web page to sign in, or test the mirrors.',
  },
  'hub.busy': {
    message: '{host} asks to be left alone for {seconds} s.',
    remedy: 'Wait; or add a token for {hub} under Mirrors, which may ask more often.',
  },
  'hub.not-found': {
    message: '{hub} has no {what}.',
    remedy: 'Check the name and the spelling; it may have been renamed or removed.',
  },
  'hub.needs-token': {
    message: '{hub} gives {what} only to those who are signed in.',
    remedy: 'Add a token for {hub} under Mirrors; if it is private, the token has to be of somebody who may see it.',
  },
  'hub.bad-token': {
    message: '{hub} does not accept the token, or hides {what} from its owner.',
    remedy: 'Make a new token and replace the old one under Mirrors.',
  },
  'hub.gated': {
    message: '{what} is given to those who agreed to its terms.',
    remedy: 'Open {page}, agree to the terms, and add a token for {hub} under Mirrors.',
  },
  'hub.no-access': {
    message: 'Your token for {hub} is fine, but {what} has not been granted to you.',
    remedy: 'Ask for access on {page}; some publishers answer after days.',
  },
  'hub.disabled': {
    message: '{hub} gives {what} to nobody any more.',
    remedy: 'Choose another source; the same file may be on another hub.',
  },
  'hub.early-access': {
    message: '{what} is in early access on {hub} until {until}.',
    remedy: 'Buy it there, or wait until then.',
  },
  'hub.nothing-meant': {
    message: '“{text}” names no model.',
    remedy: 'Give a link to a model, hub:owner/repository/file, an AIR, a hash, or a name of the catalogue.',
  },
  'model.no-place': {
    message: 'No folder for {folder} is known here.',
    remedy: 'Install or adopt a ComfyUI on the Engine page first, or add a folder under Models.',
  },
  'model.bad-name': {
    message: '{name} cannot be the name of a file here.',
    remedy: 'Give it another name.',
  },
  'model.folder-unreadable': {
    message: 'The folder {dir} cannot be read: {reason}',
    remedy: 'Check that it is there and that you may read it, then look again.',
  },
  'model.list-unreadable': {
    message: 'The list of folders {file} is not understood: {reason}',
    remedy: 'Mend the file; ComfyUI itself may not start with it.',
  },
  'model.unsafe': {
    message: 'Loading these files can run programs hidden in them: {files}',
    remedy: 'Use the .safetensors version, or trust the files if you know who made them.',
  },
  'model.not-a-model': {
    message: '{name} is not a model file: {reason}',
    remedy: 'Choose a .safetensors, .gguf, .ckpt, .pt, .pth or .bin file.',
  },
  'model.taken': {
    message: 'There is already another {name} in {dir}.',
    remedy: 'Give it another name, or remove the one that is there.',
  },
  'model.changed': { message: '{name} has changed meanwhile.', remedy: 'Look through the folders again, then retry.' },
  'model.in-use': {
    message: '{name} is being used by another program.',
    remedy: 'Stop ComfyUI, then try again.',
  },
  'model.no-room': {
    message: 'The disk of {dir} lacks room: {needMiB} MiB are needed, {freeMiB} MiB are free.',
    remedy: 'Make room, then try again.',
  },
  'model.busy': {
    message: 'The models are already being worked on.',
    remedy: 'Wait until it has finished, or stop it first.',
  },

  'snapshot.unsafe': {
    message: 'The snapshot holds something that will not be written here, {path}: {reason}.',
    remedy: 'Do not trust where it is from; make it anew on the machine it came from.',
  },
  'snapshot.incomplete': {
    message: 'A part of the snapshot is missing ({what}).',
    remedy: 'Where it was made, push it again, or make it again first; only what is missing travels.',
  },
  'snapshot.damaged': {
    message: 'A part of the snapshot is damaged: {reason}.',
    remedy: 'Run snapshot verify and make it again where it was made, then push it again: damaged parts are replaced.',
  },
  'snapshot.unreadable': {
    message: 'Nothing was removed: snapshot {id} cannot be read, so nobody knows what it needs.',
    remedy:
      'Bring it back with snapshot restore --from a place it was pushed to, or remove it with snapshot remove {id}.',
  },
  'snapshot.untrusted': {
    message: 'Snapshot {id} is not signed by the key that is trusted here.',
    remedy: 'Push it from the machine whose key is trusted, or trust the key of the one it came from.',
  },
  'snapshot.no-python': {
    message: 'The Python of this environment, {python}, does not answer: {reason}',
    remedy: 'Repair the engine first, then make the snapshot.',
  },
  'snapshot.not-empty': {
    message: '{dir} is there already, and holds something else.',
    remedy: 'Choose a folder that does not exist yet, or is empty.',
  },
  'snapshot.other-platform': {
    message: 'The snapshot is of {its}; this is {mine}.',
    remedy: 'Build it for this machine first (snapshot derive); or choose the same Python with --python.',
  },
  'snapshot.packages-gone': {
    message: '{count} packages can be had for this platform neither from an index nor from the snapshot: {packages}',
    remedy: 'Replace them where the snapshot was made, then make it anew; or give a folder of wheels that has them.',
  },
  'snapshot.build-failed': {
    message: 'The snapshot could not be built for this platform; step “{step}” ended with: {reason}',
    remedy: 'See {log}, mend what it names, and start again; what was fetched is kept.',
  },
  'snapshot.which-engine': {
    message: 'It is not clear which ComfyUI is meant. There are: {engines}',
    remedy: 'Name one with --engine; install or adopt one if there is none.',
  },
  'snapshot.busy': {
    message: 'A snapshot is being made, pushed or restored.',
    remedy: 'Wait until it is done, or stop it.',
  },
  'snapshot.secrets': {
    message: 'Nothing was made: {count} things look like secrets, such as {kind} in {path}.',
    remedy: 'Take them out, or consent to those that may travel with --consent ID.',
  },
  'snapshot.changing': {
    message: '{path} is being written to all the time.',
    remedy: 'Stop what writes to it, then make the snapshot again.',
  },
  'snapshot.no-room': {
    message: 'The snapshot needs {needMiB} MiB in {dir}; {freeMiB} MiB are free.',
    remedy: 'Make room there, or choose another folder.',
  },
  'snapshot.no-model': {
    message: 'The model {name} is not on this machine any more, and nobody is known to have it.',
    remedy: 'Put the file back where it was, or push without models.',
  },
  'depot.unreachable': {
    message: '{where} does not answer: {reason}',
    remedy: 'Check the address, and that it runs. What has arrived stays there; the next push goes on from it.',
  },
  'depot.no-key': {
    message: '{where} wants a key.',
    remedy: 'Give one that may publish there with --api-key-file FILE.',
  },
  'depot.refused': {
    message: '{where} refused (HTTP {status}): {reason}',
    remedy: 'Check that the address is that of an agent, and that the key may publish.',
  },
  'endpoint.bad-address': {
    message: '{url} is not the address of an endpoint.',
    remedy: 'Write it like https://gpu.example.com:9000.',
  },
  'endpoint.not-agent': {
    message: '{url} answers, but is no Nightshift agent.',
    remedy: 'Check the address; an agent usually listens on port 9000. A plain ComfyUI is added on the Workers page.',
  },
  'endpoint.key-refused': {
    message: '{url} does not take this key.',
    remedy: 'Give one of the keys it was started with; they are in its key file.',
  },
  'endpoint.may-not-publish': {
    message: 'The key for {url} may run workflows there, and not publish.',
    remedy: 'Give a key of that agent with the scope “publish”.',
  },
  'endpoint.takes-no-releases': {
    message: '{url} runs workflows, but nothing can be published there.',
    remedy: 'Publish to an agent: “nightshift agent”, of the version of this Nightshift.',
  },
  'endpoint.unknown': {
    message: 'There is no endpoint named {name}.',
    remedy: 'Add it on the Endpoints page, or with "nightshift endpoint add URL".',
  },
  'store.bad-address': {
    message: 'The address of the store cannot be used: {reason}',
    remedy: 'Give a folder, or s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION, without credentials in it.',
  },
  'store.no-credentials': {
    message: 'There are no credentials for {where}.',
    remedy:
      'Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, or give a file that holds ID:SECRET with --api-key-file.',
  },
  'store.unreachable': {
    message: '{where} does not answer: {reason}',
    remedy: 'Check the endpoint and the network. What has arrived stays there; trying again goes on from it.',
  },
  'store.refused': {
    message: '{where} refused: {reason}',
    remedy: 'Check the credentials, and that they may list, read, write and delete in this bucket.',
  },
  'store.no-bucket': {
    message: 'There is no bucket {bucket} at {where}.',
    remedy: 'Create it there first, or check its name, endpoint and region.',
  },
  'store.failed': {
    message: '{where} could not do it: {reason}',
    remedy: 'Try again in a while; if it happens again, look at the storage itself.',
  },
  'release.no-snapshot': {
    message: 'Snapshot {id} is not in the store of the agent.',
    remedy: 'Push it there first; a release names what is there.',
  },
  'release.no-models': {
    message: 'Models are missing ({count}): {models}',
    remedy: 'Push them to the store of the agent, or start it with --models and the folder they are in.',
  },
  'release.not-its-model': {
    message: 'The snapshot knows no model {model}.',
    remedy: 'Make a new snapshot; it names the models its workflows need.',
  },
  'release.no-classes': {
    message: 'Node classes are missing ({count}): {classes}. Custom nodes that did not load: {failed}',
    remedy: 'Look at the log of the endpoint for why they did not load, mend it on the desk, and publish again.',
  },
  'release.other-versions': {
    message: 'Something is of another version than in the snapshot ({count}): {differences}',
    remedy: 'Publish again; if it stays so, empty the cache of the agent.',
  },
  'release.no-values': {
    message: 'The workflow {name} chooses what is not there: {values}',
    remedy: 'Let the models it needs travel along, and publish again.',
  },
  'release.no-python': {
    message: 'There is no Python {version} here that the snapshot can run with; found: {found}',
    remedy: 'Install Python {version}, or name one with --python.',
  },
  'release.refused': {
    message: 'Release {version} was refused here: {reason}',
    remedy: 'Mend what it says, and publish again. What served before still serves.',
  },
  'agent.no-key': {
    message: 'No key, or one that is not right.',
    remedy: 'Send one of the agent’s keys as Authorization: Bearer … or X-API-Key.',
  },
  'agent.silent': {
    message: '{host} does not answer.',
    remedy: 'Check your network and try again. What was sent before goes on there.',
  },
  'agent.too-many': { message: 'Too many requests.', remedy: 'Wait a minute.' },
  'agent.refused': {
    message: 'Not allowed: {reason}',
    remedy:
      'Only what an agent is for can be asked of it; its names and the pages it lets in are set where it is started.',
  },
  'agent.no-task': {
    message: 'There is no task {id}.',
    remedy: 'Check the id; old tasks are forgotten after a while.',
  },
  'agent.task-differs': {
    message: 'Task {id} exists already, with another workflow.',
    remedy: 'Send each workflow with an id of its own.',
  },
  'agent.busy': { message: '{count} tasks are waiting already.', remedy: 'Send it again in a while.' },
  'agent.stopping': { message: 'The agent is stopping.', remedy: 'Send it again; another agent takes it.' },
  'agent.no-release': {
    message: 'Release {version} does not run here.',
    remedy: 'Ask for the one that serves by leaving x-release out, or wait until this one is ready.',
  },
  'agent.not-ready': { message: 'ComfyUI does not answer yet: {reason}', remedy: 'Send it again in a while.' },
  'agent.bad-value': {
    message: '{field} does not fit: {reason}',
    remedy: 'Give another value; GET /api/workflows says what each field takes.',
  },
  'agent.bad-input': {
    message: 'The file for {input} of node {node} cannot be used: {reason}',
    remedy:
      'Send a picture, video or sound as base64 or by a public http(s) address, or the name of one that is there.',
  },
  'agent.bad-file': {
    message: 'What was sent is not {name}.',
    remedy: 'Call a file by its SHA-256 and its ending, and send it whole.',
  },
  'agent.too-long': {
    message: 'The task took longer than {seconds} s and was ended.',
    remedy: 'Send less in one task, or raise the agent’s limit.',
  },
  'publish.busy': {
    message: 'Something is being published to {endpoint} already.',
    remedy: 'Wait until it is done, stop it, or answer what it asks on the Publish page.',
  },
  'publish.missing-class': {
    message: '{workflow} needs {classTypes}, which the snapshot does not have.',
    remedy: 'Install the custom node that brings it, start ComfyUI, and publish again.',
  },
  'publish.missing-model': {
    message: '{workflow} needs {models}, which the ComfyUI here does not have.',
    remedy: 'Get the models on the Models page, or choose others in the workflow; then publish again.',
  },
  'publish.no-output': { message: '{workflow} saves nothing.', remedy: 'Add a Save Image (or another output) node.' },
  'publish.paid': {
    message: '{workflow} uses nodes that cost money ({classTypes}), and an endpoint has no account to pay with.',
    remedy: 'Publish a workflow without them.',
  },
  'publish.different': {
    message: '{count} of {all} files made there differ more than they may from those made here.',
    remedy:
      'Restart ComfyUI here if its files changed since it started, or mend what differs; or look at them on the Publish page and publish all the same (--accept-different).',
  },
  'publish.no-version': {
    message: '{endpoint} has no such version to go back to.',
    remedy: 'Choose one from the list of its versions.',
  },
} as const satisfies Record<string, { message: string; remedy: string }>

export type ErrorCode = keyof typeof errors
export type Facts = Record<string, Json>

export const Failure = z.object({
  code: z.string(),
  message: z.string(),
  remedy: z.string(),
  facts: z.custom<Facts>((value) => typeof value === 'object' && value !== null),
})
/** A failure as data: what crosses a wire or is kept in a row. */
export type Failure = z.infer<typeof Failure>

/** Puts facts into a sentence: `{name}` becomes facts.name. */
export const fill = (sentence: string, facts: Facts) =>
  sentence.replace(/\{(\w+)\}/g, (whole, name: string) => (name in facts ? String(facts[name]) : whole))

/** An error with a code for the program, words for the person, and facts for the log. */
export class AppError extends Error {
  readonly code: ErrorCode
  readonly facts: Facts
  constructor(code: ErrorCode, facts: Facts = {}, options?: ErrorOptions) {
    super(fill(errors[code].message, facts), options)
    this.name = 'AppError'
    this.code = code
    this.facts = facts
  }
}

/** Any thrown thing as a failure; what is not ours becomes `app.internal`. */
export function toFailure(cause: unknown): Failure {
  if (cause instanceof AppError) {
    const { code, message, facts } = cause
    return { code, message, remedy: fill(errors[code].remedy, facts), facts }
  }
  if (cause instanceof FailureError) return cause.failure
  return toFailure(new AppError('app.internal', { reason: cause instanceof Error ? cause.message : String(cause) }))
}

/** A failure that came over a wire, thrown again on this side. */
export class FailureError extends Error {
  readonly failure: Failure
  constructor(failure: Failure) {
    super(failure.message)
    this.name = 'FailureError'
    this.failure = failure
  }
}

export type Envelope<T = unknown> = { ok: true; value: T } | { ok: false; failure: Failure }
