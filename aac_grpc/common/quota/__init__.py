"""Budgets: token buckets by principal, plan and rate class, in this process or shared through Redis."""

from aac_grpc.common.quota.bucket import Budget, Grant, Quotas
from aac_grpc.common.quota.local import LocalQuotas

__all__ = ["Budget", "Grant", "LocalQuotas", "Quotas"]
