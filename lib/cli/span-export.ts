// Spans on their way to a collector of OpenTelemetry, where its variables name one.

import { LlavaError } from '../index.js'
import type { LogEntry } from '../server/index.js'

/** Whether OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT names a collector, and nothing says no. */
export function wantsSpans({
  OTEL_EXPORTER_OTLP_ENDPOINT: all,
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: traces,
  OTEL_TRACES_EXPORTER: exporter = 'otlp',
  OTEL_SDK_DISABLED: disabled,
}: NodeJS.ProcessEnv): boolean {
  return [all, traces].some((url) => url !== undefined && url !== '') && exporter === 'otlp' && disabled !== 'true'
}

/**
 * Registers a tracer whose spans go to that collector, in OTLP over HTTP; how many, how often and with which headers is
 * said by OpenTelemetry's own variables. What is left is sent when it is disposed of. Fails with INVALID_ARGUMENT where
 * OpenTelemetry's packages are not installed.
 *
 * @param log hears of a collector that cannot be reached
 */
export async function exportSpans(log: (entry: LogEntry) => void): Promise<AsyncDisposable> {
  const [api, sdk, exporter, resources] = await importSdk()
  const tell = (message: string) => {
    log({ time: new Date().toISOString(), level: 'warn', event: 'spans', message })
  }
  const ignore = () => undefined
  api.diag.setLogger({ error: tell, warn: tell, info: ignore, debug: ignore, verbose: ignore }, api.DiagLogLevel.WARN)
  const resource = resources
    .defaultResource()
    .merge(resources.resourceFromAttributes({ 'service.name': 'llava' }))
    .merge(resources.detectResources({ detectors: [resources.envDetector] }))
  const provider = new sdk.NodeTracerProvider({
    resource,
    spanProcessors: [new sdk.BatchSpanProcessor(new exporter.OTLPTraceExporter())],
  })
  provider.register()
  return {
    async [Symbol.asyncDispose]() {
      await provider.shutdown().catch((error: unknown) => {
        tell(String(error))
      })
    },
  }
}

async function importSdk() {
  try {
    return await Promise.all([
      import('@opentelemetry/api'),
      import('@opentelemetry/sdk-trace-node'),
      import('@opentelemetry/exporter-trace-otlp-http'),
      import('@opentelemetry/resources'),
    ])
  } catch (cause) {
    throw new LlavaError(
      'INVALID_ARGUMENT',
      'OTEL_EXPORTER_OTLP_ENDPOINT is set, and spans need packages that are not installed: npm install @opentelemetry/api ' +
        '@opentelemetry/sdk-trace-node @opentelemetry/exporter-trace-otlp-http @opentelemetry/resources',
      { cause },
    )
  }
}
