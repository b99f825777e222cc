import { readCapabilities, requireFeature } from '../catalog/capabilities.ts'
import { ifThere } from '../catalog/relation.ts'
import type { Session } from '../connection/session.ts'
import type { ObjectName } from '../sql/identifier.ts'
import { findLosses } from './loss-rule.ts'
import type { PolicyFinding } from './policy-finding.ts'
import { type PolicyNode, readPolicyTrees } from './policy-tree.ts'
import { findStaleness } from './refresh-rule.ts'
import { findWaste } from './waste-rule.ts'

const ORDER: readonly PolicyFinding['severity'][] = ['loss', 'wrong', 'waste']

/**
 * The contradictions between retention, compression, refreshing and late data, of all hypertables or of the one that
 * `table` is, or is made from, with all aggregates above it. The worst first; empty where everything is in order.
 * Changes nothing.
 * @throws QueryError NOT_FOUND, HYPERTABLE_NOT_FOUND; UnsupportedError EDITION_REQUIRED
 */
export async function checkPolicies(session: Session, table?: ObjectName): Promise<PolicyFinding[]> {
  const capabilities = await readCapabilities(session)
  requireFeature(capabilities, 'job')
  const visit = async (node: PolicyNode, source: PolicyNode | undefined): Promise<PolicyFinding[]> => {
    const context = { session, capabilities, node }
    const own = [
      ...(await findLosses(context)),
      ...(await findStaleness(context, source)),
      ...(await findWaste(context)),
    ]
    for (const child of node.children) own.push(...(await visit(child, node)))
    return own
  }
  const findings: PolicyFinding[] = []
  for (const root of await readPolicyTrees(session, table)) {
    findings.push(...((await ifThere(() => visit(root, undefined))) ?? []))
  }
  return findings.sort((left, right) => ORDER.indexOf(left.severity) - ORDER.indexOf(right.severity))
}
