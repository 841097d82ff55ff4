"""The journal, the runs that it tells of, and the manifests that its digests stand for.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String, primary_key=True),
        sa.Column("job", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False, index=True),
        sa.Column("opened_s", sa.Float, nullable=False),
        sa.Column("ended_s", sa.Float),
    )
    op.create_table(
        "journal",
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("run_id", sa.String, sa.ForeignKey("runs.run_id"), nullable=False),
        sa.Column("at_s", sa.Float, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer),
        sa.Column("report_id", sa.String),
        sa.Column("body", sa.Text, nullable=False),
        sa.UniqueConstraint("run_id", "report_id", name="journal_report_once"),
        sqlite_autoincrement=True,
    )
    op.create_index("journal_by_run", "journal", ["run_id", "sequence"])
    op.create_table(
        "manifests",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("manifests")
    op.drop_table("journal")
    op.drop_table("runs")
