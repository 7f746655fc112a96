"""What an export says in plain words, in English and French: Art. 15(1) and 12(1) GDPR.

A category is the word that a holder gives its documents. One that is not here is shown under its
own name with the general words, so that nothing is left out for want of a text.
"""

from __future__ import annotations

from typing import NamedTuple


class Category(NamedTuple):
    """What a category holds, why, on which basis, where from, for how long, who sees it."""

    heading: str
    why: str
    basis: str
    source: str
    kept: str
    seen_by: str


class Words(NamedTuple):
    """The words of one language. `labels` are names of fields; others are shown as they are."""

    title: str
    intro: str
    made_at: str
    number: str
    contents: str
    why: str
    basis: str
    source: str
    kept: str
    seen_by: str
    nothing: str
    more: str
    technical: str
    yes: str
    no: str
    empty: str
    about: str
    rights: str
    end: str
    first_day: str
    decimal: str
    colon: str
    months: tuple[str, ...]
    general: Category
    categories: dict[str, Category]
    labels: dict[str, str]
    values: dict[str, str]


_EN_SHOP = "the shop's staff and systems that run the programme"
_EN = Words(
    title="Your data",
    intro=(
        "This is everything that this loyalty programme holds about you: what it is, why it is "
        "held, where it came from, how long it is kept and who sees it."
    ),
    made_at="Made on",
    number="Your member number",
    contents="What is in it",
    why="Why",
    basis="Legal basis",
    source="Where it came from",
    kept="How long it is kept",
    seen_by="Who sees it",
    nothing="Nothing is held about you.",
    more="More",
    technical="Technical details",
    yes="yes",
    no="no",
    empty="–",
    about="About this page",
    rights=(
        "You can have it corrected, put aside or erased, object to its use, take it with you as a "
        "file for computers (JSON), and complain to your data protection authority. The file of "
        "this page is yours alone to keep: the programme does not keep a copy of it."
    ),
    end="This is the end of the page; nothing is missing below.",
    first_day="1",
    decimal=".",
    colon=": ",
    months=(
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ),
    general=Category(
        "",
        "To run the loyalty programme that you are a member of.",
        "contract (Art. 6(1)(b) GDPR)",
        "you, or what you did with the shop",
        "while you are a member",
        _EN_SHOP,
    ),
    categories={
        "identity": Category(
            "Your membership, and how you are recognised",
            "To run your membership, and to know you on every channel of the shop.",
            "contract (Art. 6(1)(b) GDPR)",
            "you, when you enrolled, showed or told it",
            "while you are a member, or until you take it away",
            _EN_SHOP,
        ),
        "profile": Category(
            "Your profile",
            "To give you the benefits that depend on it, such as a birthday's.",
            "contract (Art. 6(1)(b) GDPR)",
            "you, or the shop",
            "while you are a member",
            _EN_SHOP,
        ),
        "referrals": Category(
            "Friends you brought, or who brought you",
            "To pay both sides what was promised.",
            "contract (Art. 6(1)(b) GDPR)",
            "you or your friend, by the code",
            "while you are a member",
            _EN_SHOP,
        ),
        "purchases": Category(
            "What you bought and gave back",
            "To award points, to explain each of them, and to take returns back.",
            "contract (Art. 6(1)(b) GDPR)",
            "the tills, web shop and other channels of the shop",
            "while you are a member; then amounts without your name, for the accounts",
            _EN_SHOP,
        ),
        "engagements": Category(
            "What else you did with the shop",
            "To award the points that were promised for it.",
            "contract (Art. 6(1)(b) GDPR), and your consent for social networks",
            "the channel on which you did it",
            "while you are a member; then points without your name, for the accounts",
            _EN_SHOP,
        ),
        "points": Category(
            "How your points moved",
            "To keep your balance right, and to explain each change of it.",
            "contract (Art. 6(1)(b) GDPR)",
            "this programme and the shop's staff",
            "while you are a member; then points without your name, for the accounts",
            _EN_SHOP,
        ),
        "rewards": Category(
            "Rewards",
            "To give each reward as often as was promised, and to whom it belongs.",
            "contract (Art. 6(1)(b) GDPR)",
            "what you exchanged",
            "while you are a member",
            _EN_SHOP,
        ),
        "coupons": Category(
            "Coupons",
            "To take each coupon as often as was promised, from whom it belongs to.",
            "contract (Art. 6(1)(b) GDPR)",
            "what you used",
            "while you are a member",
            _EN_SHOP,
        ),
        "household": Category(
            "Your household",
            "To share points within the household that you joined.",
            "contract (Art. 6(1)(b) GDPR)",
            "you or somebody of the household",
            "while you belong to it",
            "the members of the household and the shop's staff",
        ),
        "consents": Category(
            "What you agreed to",
            "To do only what you agreed to, and to be able to show it.",
            "legal obligation (Art. 7(1) GDPR)",
            "you, on the form, at the till or by telephone",
            "while you are a member",
            _EN_SHOP,
        ),
        "requests": Category(
            "Your requests about your data",
            "To answer you in time, and to be able to show it.",
            "legal obligation (Art. 12 GDPR)",
            "you",
            "while you are a member; then that there was a request, without your name",
            "the shop's staff who answer requests",
        ),
        "messages": Category(
            "Messages to you",
            "To send you confirmations, codes and answers.",
            "legal obligation (Art. 12 GDPR)",
            "this programme",
            "until the message has expired",
            "the shop's tool that sends messages",
        ),
        "picks": Category(
            "Products chosen for you, to be sent to you",
            "To write to you about what may interest you, as you agreed.",
            "consent (Art. 6(1)(a) GDPR)",
            "this programme, from what you bought if you agreed to that, else what is popular",
            "24 hours at most",
            "the shop's tool that sends e-mails, while you agree to them",
        ),
        "access_log": Category(
            "Who looked at your data",
            "To find misuse.",
            "legitimate interest (Art. 6(1)(f) GDPR)",
            "this programme",
            "400 days at most",
            "you and the shop's staff who look after data protection",
        ),
        "feedback": Category(
            "What you looked at",
            "To show you what suits you, while you agree to that.",
            "consent (Art. 6(1)(a) GDPR)",
            "what you did on the shop's pages, in its app and its e-mails",
            "13 months at most, unless the shop says otherwise",
            _EN_SHOP,
        ),
        "retention": Category(
            "Warnings before an account that nobody uses is erased",
            "To erase nobody without a warning.",
            "legal obligation (Art. 5(1)(e) GDPR)",
            "this programme",
            "until you are active again, or your account is erased",
            _EN_SHOP,
        ),
    },
    labels={
        "access_log": "who looked",
        "at": "when",
        "by": "by whom",
        "consents": "records of decisions",
        "identity_codes": "codes to prove who you are",
        "journal": "entries",
        "members": "membership",
        "privacy_requests": "requests",
        "seq": "number",
        "sku": "product",
        "until": "good until",
        "what": "step",
    },
    values={},
)
_FR_SHOP = "le personnel et les systèmes de l’enseigne qui gèrent le programme"
_FR = Words(
    title="Vos données",
    intro=(
        "Voici tout ce que ce programme de fidélité détient à votre sujet : de quoi il s’agit, "
        "pourquoi, d’où viennent ces données, combien de temps elles sont conservées et qui les "
        "voit."
    ),
    made_at="Établi le",
    number="Votre numéro de membre",
    contents="Sommaire",
    why="Pourquoi",
    basis="Base légale",
    source="Provenance",
    kept="Durée de conservation",
    seen_by="Destinataires",
    nothing="Aucune donnée n’est détenue à votre sujet.",
    more="Autres",
    technical="Détails techniques",
    yes="oui",
    no="non",
    empty="–",
    about="À propos de cette page",
    rights=(
        "Vous pouvez faire rectifier, limiter ou effacer ces données, vous opposer à leur "
        "utilisation, les emporter dans un fichier lisible par ordinateur (JSON) et introduire une "
        "réclamation auprès de votre autorité de protection des données. Ce fichier n’appartient "
        "qu’à vous : le programme n’en garde pas de copie."
    ),
    end="Fin de la page ; rien ne manque ci-dessous.",
    first_day="1er",
    decimal=",",
    colon="\u00a0: ",
    months=(
        "janvier",
        "février",
        "mars",
        "avril",
        "mai",
        "juin",
        "juillet",
        "août",
        "septembre",
        "octobre",
        "novembre",
        "décembre",
    ),
    general=Category(
        "",
        "Pour faire fonctionner le programme de fidélité dont vous êtes membre.",
        "contrat (art. 6, § 1, point b) du RGPD)",
        "vous-même, ou vos actions auprès de l’enseigne",
        "tant que vous êtes membre",
        _FR_SHOP,
    ),
    categories={
        "identity": Category(
            "Votre adhésion et ce qui permet de vous reconnaître",
            "Pour gérer votre adhésion et vous reconnaître sur tous les canaux de l’enseigne.",
            "contrat (art. 6, § 1, point b) du RGPD)",
            "vous-même, à l’inscription ou lorsque vous l’avez présenté ou communiqué",
            "tant que vous êtes membre, ou jusqu’à ce que vous le retiriez",
            _FR_SHOP,
        ),
        "profile": Category(
            "Votre profil",
            "Pour vous accorder les avantages qui en dépendent, comme celui de l’anniversaire.",
            "contrat (art. 6, § 1, point b) du RGPD)",
            "vous-même, ou l’enseigne",
            "tant que vous êtes membre",
            _FR_SHOP,
        ),
        "referrals": Category(
            "Parrainages",
            "Pour verser aux deux personnes ce qui a été promis.",
            "contrat (art. 6, § 1, point b) du RGPD)",
            "vous-même ou votre proche, par le code",
            "tant que vous êtes membre",
            _FR_SHOP,
        ),
        "purchases": Category(
            "Vos achats et vos retours",
            "Pour attribuer des points, expliquer chacun d’eux et accepter les retours.",
            "contrat (art. 6, § 1, point b) du RGPD)",
            "les caisses, la boutique en ligne et les autres canaux de l’enseigne",
            "tant que vous êtes membre ; ensuite les montants sans votre nom, pour la comptabilité",
            _FR_SHOP,
        ),
        "engagements": Category(
            "Vos autres interactions avec l’enseigne",
            "Pour attribuer les points promis en échange.",
            "contrat (art. 6, § 1, point b) du RGPD) et consentement pour les réseaux sociaux",
            "le canal sur lequel l’interaction a eu lieu",
            "tant que vous êtes membre ; ensuite les points sans votre nom, pour la comptabilité",
            _FR_SHOP,
        ),
        "points": Category(
            "Les mouvements de vos points",
            "Pour tenir votre solde et expliquer chaque changement.",
            "contrat (art. 6, § 1, point b) du RGPD)",
            "ce programme et le personnel de l’enseigne",
            "tant que vous êtes membre ; ensuite les points sans votre nom, pour la comptabilité",
            _FR_SHOP,
        ),
        "rewards": Category(
            "Récompenses",
            "Pour remettre chaque récompense aussi souvent que promis, à son titulaire.",
            "contrat (art. 6, § 1, point b) du RGPD)",
            "ce que vous avez échangé",
            "tant que vous êtes membre",
            _FR_SHOP,
        ),
        "coupons": Category(
            "Bons de réduction",
            "Pour accepter chaque bon aussi souvent que promis, de son titulaire.",
            "contrat (art. 6, § 1, point b) du RGPD)",
            "ce que vous avez utilisé",
            "tant que vous êtes membre",
            _FR_SHOP,
        ),
        "household": Category(
            "Votre foyer",
            "Pour partager les points au sein du foyer que vous avez rejoint.",
            "contrat (art. 6, § 1, point b) du RGPD)",
            "vous-même ou un membre du foyer",
            "tant que vous en faites partie",
            "les membres du foyer et le personnel de l’enseigne",
        ),
        "consents": Category(
            "Vos consentements",
            "Pour ne faire que ce que vous avez accepté, et pouvoir le démontrer.",
            "obligation légale (art. 7, § 1, du RGPD)",
            "vous-même, par formulaire, en caisse ou par téléphone",
            "tant que vous êtes membre",
            _FR_SHOP,
        ),
        "requests": Category(
            "Vos demandes relatives à vos données",
            "Pour vous répondre à temps, et pouvoir le démontrer.",
            "obligation légale (art. 12 du RGPD)",
            "vous-même",
            "tant que vous êtes membre ; ensuite l’existence de la demande, sans votre nom",
            "le personnel de l’enseigne chargé de répondre aux demandes",
        ),
        "messages": Category(
            "Messages qui vous sont adressés",
            "Pour vous envoyer des confirmations, des codes et des réponses.",
            "obligation légale (art. 12 du RGPD)",
            "ce programme",
            "jusqu’à l’expiration du message",
            "l’outil d’envoi de messages de l’enseigne",
        ),
        "picks": Category(
            "Produits choisis pour vous, à vous envoyer",
            "Pour vous écrire au sujet de ce qui peut vous intéresser, comme vous l’avez accepté.",
            "consentement (art. 6, § 1, point a) du RGPD)",
            "ce programme : vos achats si vous l’avez accepté, sinon les meilleures ventes",
            "24 heures au plus",
            "l’outil d’envoi d’e-mails de l’enseigne, tant que vous l’acceptez",
        ),
        "access_log": Category(
            "Qui a consulté vos données",
            "Pour détecter les abus.",
            "intérêt légitime (art. 6, § 1, point f) du RGPD)",
            "ce programme",
            "400 jours au plus",
            "vous-même et le personnel de l’enseigne chargé de la protection des données",
        ),
        "feedback": Category(
            "Ce que vous avez regardé",
            "Pour vous montrer ce qui vous correspond, tant que vous y consentez.",
            "consentement (art. 6, § 1, point a) du RGPD)",
            "vos actions sur les pages de l’enseigne, dans son application et ses courriels",
            "13 mois au plus, sauf indication contraire de l’enseigne",
            _FR_SHOP,
        ),
        "retention": Category(
            "Avertissements avant l’effacement d’un compte inutilisé",
            "Pour n’effacer aucun compte sans avertissement.",
            "obligation légale (art. 5, § 1, point e) du RGPD)",
            "ce programme",
            "jusqu’à ce que vous soyez de nouveau actif, ou à l’effacement de votre compte",
            _FR_SHOP,
        ),
    },
    labels={
        "access_log": "consultations",
        "activity": "activité",
        "actor": "personne",
        "age": "âge",
        "article": "article",
        "asked": "demandé",
        "basis": "base",
        "base": "base",
        "because": "en raison de",
        "brand": "marque",
        "category": "rayon",
        "confirms": "confirme",
        "decided_at": "décidé le",
        "evidence": "preuve",
        "external_id": "numéro de l’expéditeur",
        "engagement": "interaction",
        "fingerprint": "empreinte",
        "flags": "état des décisions",
        "inputs": "calcul",
        "key": "clé",
        "member": "membre",
        "previous": "précédent",
        "restricted": "limité",
        "rounding": "arrondi",
        "amount": "montant",
        "at": "le",
        "balance_after": "solde après",
        "birthday": "anniversaire",
        "by": "par",
        "channel": "canal",
        "closed_at": "clôturée le",
        "code": "code",
        "consents": "décisions enregistrées",
        "content": "contenu",
        "created_at": "créé le",
        "currency": "devise",
        "decisions": "décisions",
        "details": "précisions",
        "due_at": "échéance",
        "enrolled_at": "inscrit le",
        "expires_at": "expire le",
        "factor": "facteur",
        "form": "formulaire",
        "granted": "accordé",
        "identifiers": "identifiants",
        "identity_codes": "codes de vérification d’identité",
        "joined_at": "rejoint le",
        "journal": "écritures",
        "kind": "nature",
        "language": "langue",
        "lines": "lignes",
        "linked_at": "lié le",
        "login_at": "dernière connexion",
        "member_id": "numéro de membre",
        "members": "adhésion",
        "messages": "messages",
        "method": "moyen",
        "name": "nom",
        "notice_version": "version de la notice",
        "occurred_at": "date",
        "per": "par",
        "per_amount": "par montant de",
        "points": "points",
        "postings": "calcul des points",
        "privacy_requests": "demandes",
        "profile": "profil",
        "program_version": "version du programme",
        "proof": "preuve d’identité",
        "purpose": "finalité",
        "quantity": "quantité",
        "reason": "motif",
        "received_at": "reçu le",
        "recorded_at": "enregistré le",
        "recorded_by": "enregistré par",
        "request": "demande",
        "request_id": "numéro de demande",
        "rule": "règle",
        "segments": "segments",
        "sent": "envoyés le",
        "seq": "numéro",
        "sent_at": "envoyé le",
        "sku": "article",
        "source": "provenance",
        "status": "état",
        "steps": "étapes",
        "store": "magasin",
        "text": "texte",
        "tier": "niveau",
        "tries": "tentatives",
        "type": "type",
        "unit": "unité",
        "until": "jusqu’au",
        "value": "valeur",
        "what": "étape",
    },
    values={
        "access": "accès",
        "active": "actif",
        "added": "complétée",
        "adjustment": "correction",
        "basket": "panier",
        "begun": "commencée",
        "browser_signal": "signal du navigateur",
        "call": "appel",
        "card": "carte",
        "code": "code",
        "confirm_consent": "demande de confirmation",
        "confirmation": "confirmation",
        "decision": "décision",
        "done": "traitée",
        "email": "e-mail",
        "engagement": "interaction",
        "erasure": "effacement",
        "expiry": "expiration",
        "first_on_channel": "première fois sur un canal",
        "floor": "à l’inférieur",
        "extended": "prolongée",
        "form": "formulaire",
        "granted": "accordé",
        "guardian": "parent ou tuteur",
        "identified": "identité vérifiée",
        "identity_code": "code de vérification",
        "import": "reprise",
        "inactivity_warning": "avertissement d’inactivité",
        "link": "lien",
        "login": "connexion",
        "marketing": "prospection",
        "member": "membre",
        "multiplier": "multiplicateur",
        "objected": "opposition",
        "objection": "opposition",
        "open": "ouverte",
        "pending": "à confirmer",
        "personalisation": "personnalisation",
        "phone": "téléphone",
        "portability": "portabilité",
        "post": "courrier",
        "provisional": "provisoire",
        "purchase": "achat",
        "received": "reçue",
        "rectification": "rectification",
        "redemption": "échange de points",
        "refused": "refusé",
        "request": "demande",
        "request_done": "réponse à une demande",
        "request_received": "accusé de réception",
        "request_extended": "délai prolongé",
        "restriction": "limitation",
        "return": "retour",
        "shop": "enseigne",
        "signal": "signal du navigateur",
        "sms": "SMS",
        "spend": "achat",
        "store": "magasin",
        "till": "caisse",
        "waiting_for_identity": "identité à vérifier",
        "web": "web",
        "withdrawal": "retrait",
        "withdrawn": "retiré",
    },
)
WORDS: dict[str, Words] = {"en": _EN, "fr": _FR}


def words_of(language: str) -> Words:
    """The words of a language; English where there are none."""
    return WORDS.get(language, _EN)


def category_of(name: str, words: Words) -> Category:
    """What is said of a category, whether or not there is a text of its own."""
    known = words.categories.get(name)
    return known or words.general._replace(heading=readable(name, words))


def readable(name: str, words: Words) -> str:
    """The name of a field or a category as people read it: `closed_at` as `closed at`."""
    label = words.labels.get(name) or name.strip("_").replace("_", " ")
    return label[:1].upper() + label[1:]
