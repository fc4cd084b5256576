"""Texts that the weights of a decoder are rounded for: none of them is among those that a program is checked on."""

from __future__ import annotations

PROSE: tuple[str, ...] = (
    "Can you explain to me in simple words how a bicycle stays upright? I have read that it is because the "
    "wheels turn like a gyroscope, but a friend of mine says that this is not the whole story, and that steering "
    "matters more.",
    "Write a short letter to my landlord. The heating in the bedroom has not worked since Tuesday, I have called "
    "twice, and nobody has come. I would like to know when it will be repaired, and whether the rent can be "
    "reduced until then.",
    "The old lighthouse stood at the end of a road that nobody repaired any more. Anna had the key from her "
    "grandmother, who had it from hers. On the first floor there were maps, on the second a bed and a stove, and "
    "at the top, under glass, the lamp, which had not burned for thirty years. She cleaned the lens with a cloth "
    "and waited for the dark.",
    "Photosynthesis is how plants turn light into food. Chlorophyll in the leaves takes in red and blue light, "
    "and the energy splits water into hydrogen and oxygen. The oxygen leaves the plant; the hydrogen is joined "
    "with carbon dioxide from the air to make sugar. In this way a tree of ten tons is made mostly of air and "
    "rain.",
    "def median(values):\n    ordered = sorted(values)\n    middle = len(ordered) // 2\n    if len(ordered) % "
    "2:\n        return ordered[middle]\n    return (ordered[middle - 1] + ordered[middle]) / 2\n\n\n"
    "print(median([3, 1, 4, 1, 5, 9, 2, 6]))  # 3.5\n",
    "Summarize the following in two sentences: The city council met on Monday to discuss the new tram line. "
    "Supporters said that it would take four thousand cars a day off the roads. Opponents pointed to the cost, "
    "which has risen from 90 to 140 million, and asked for a second report. A decision is expected before the "
    "end of the year.",
    "1. Preheat the oven to 200 degrees.\n2. Mix 300 g of flour, a teaspoon of salt and 7 g of dry yeast.\n3. "
    "Add 200 ml of warm water and two spoons of olive oil, and knead for ten minutes.\n4. Let the dough rest for "
    "an hour, until it has doubled.\n5. Shape it, bake it for twenty-five minutes, and let it cool on a rack "
    "before you cut it.",
    "What is the difference between a virus and a bacterium, and why do antibiotics help against only one of them?",
    "A train leaves the station at 9:40 and travels 150 kilometres at 60 kilometres an hour. It waits for 20 "
    "minutes, and then goes on for 90 kilometres at 45 kilometres an hour. When does it arrive? Let us think "
    "step by step. The first part takes 150 / 60 = 2.5 hours, so that it ends at 12:10. With the pause it is "
    "12:30. The second part takes 2 hours.",
    "The team won the last match of the season by three goals to one, after they had been behind at half time. "
    "The coach said that he was proud of how his players had kept calm. The goalkeeper, who is nineteen, was "
    "carried off the field on the shoulders of the fans. Next year they will play in the first division again, "
    "for the first time since 2011.",
    '{"name": "Ada", "age": 36, "languages": ["English", "French"], "address": {"street": "12 '
    'Hill Road", "city": "Leeds"}, "active": true, "balance": -17.25, "tags": []}',
    "Die Bibliothek ist montags geschlossen, an allen anderen Tagen von zehn bis neunzehn Uhr geöffnet. Wer ein "
    "Buch verlängern möchte, kann das am Schalter oder im Netz tun. Nach vier Wochen kostet jeder Tag zwanzig "
    "Cent.",
    "Le marché se tient tous les samedis sur la place de la mairie. On y trouve des légumes, du fromage, du pain "
    "et, en été, des fleurs. Les producteurs viennent des villages voisins et repartent vers treize heures.",
    "El tren de las ocho llegó con media hora de retraso, y la gente en el andén ya no miraba el reloj. Una "
    "mujer leía el periódico; dos niños contaban los vagones. Cuando por fin se abrieron las puertas, nadie dijo "
    "nada.",
    "В субботу мы поехали за город, собирали грибы и варили суп на костре. Вечером пошёл дождь, и домой "
    "вернулись мокрые, но довольные.",
    "周末我们去了山里，早上有雾，中午太阳出来了。孩子们在河边捡石头，老人坐在树下喝茶。",
    "毎朝六時に起きて、公園を三十分走ります。それからシャワーを浴びて、パンとコーヒーの朝食を食べます。",
    "I bought this kettle because of the good reviews, and I wish I had not. It takes ages to boil, the lid does "
    "not close, and after three weeks the switch broke. The shop offered me a voucher instead of my money. Two "
    "stars, and only because it looks nice.",
    "User: My printer says that it is offline, but the cable is in.\nAssistant: Please switch it off, wait for "
    "ten seconds, and switch it on again. Does the light on the front turn green?\nUser: Yes, it does now. Thank "
    "you!\nAssistant: You are welcome. If it happens again, try another cable first.",
    "Once upon a time there was a fox who did not like to hunt. He planted cabbages behind his den, and in the "
    "autumn he had so many that he invited the hares. At first they did not dare to come. Then the youngest "
    "said: whoever waters cabbages every evening can't be all bad. They ate together until the snow fell, and "
    "nobody was eaten.",
    "The price of oil fell by two percent on Thursday, to 71.80 dollars a barrel, after figures had shown that "
    "stocks were larger than expected. Shares of airlines gained. Analysts say that the market will stay nervous "
    "until the producers meet next month, when they are to decide how much they pump in the new year.",
    "Give me five ideas for a birthday present for my father. He is seventy, likes gardening and old films, and "
    "says every year that he does not need anything.",
    "Water boils at 100 degrees Celsius at sea level, and at about 90 on a mountain of three thousand metres, as "
    "the air presses on it less. That is why eggs take longer to cook up there: the water is not as hot, however "
    "much it bubbles.",
    "In the beginning of the nineteenth century most people in Europe lived in villages and worked in the "
    "fields. A hundred years later every second person lived in a town. Railways had made the journey short, "
    "machines had taken over the harvest, and factories paid wages every week, though the work was hard and the "
    "houses were dark and crowded.",
)
"""Texts of our own: questions, answers, stories, news, code and numbers, in several languages and scripts."""
