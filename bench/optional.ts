/** A package that this one does not depend on; undefined where it is not installed. */
export async function optional<Library>(name: string): Promise<Library | undefined> {
  try {
    return (await import(name)) as Library
  } catch (error) {
    if ((error as { readonly code?: string }).code === 'ERR_MODULE_NOT_FOUND') return undefined
    throw error
  }
}
