// Objects of requests: valibot's own schemas take lists for objects of which every field may be absent.

import * as v from 'valibot'

/** The schema of an object with these fields; others are passed over. */
export function object<const Entries extends v.ObjectEntries>(entries: Entries): v.ObjectSchema<Entries, undefined> {
  return withoutLists(v.object(entries))
}

/** The schema of an object whose fields may have any name. */
export function dictionary<const Value extends v.GenericSchema>(
  value: Value,
): v.RecordSchema<v.StringSchema<undefined>, Value, undefined> {
  return withoutLists(v.record(v.string(), value))
}

function withoutLists<Schema extends v.GenericSchema>(schema: Schema): Schema {
  return {
    ...schema,
    '~run'(dataset: v.UnknownDataset, config: v.Config<v.BaseIssue<unknown>>) {
      if (!Array.isArray(dataset.value)) return schema['~run'](dataset, config)
      v._addIssue(schema as never, 'type', dataset, config)
      return dataset
    },
  }
}
